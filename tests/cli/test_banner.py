import webbrowser
from dataclasses import replace
from pathlib import Path

import pytest

from app.cli.banner import ReadyServer, banner_of, open_browser

READY = ReadyServer(
    address="http://127.0.0.1:8000",
    models=("u2net", "u2netp"),
    provider="CPUExecutionProvider",
    why_not_cuda="no driver",
    metrics=None,
)


def test_the_banner_has_the_address_the_models_and_the_device() -> None:
    text = banner_of(READY, is_terminal=False)

    assert "\n  Cutout listens on  http://127.0.0.1:8000\n" in text
    assert "  Models             u2net, u2netp\n" in text
    assert "  Runs on            CPUExecutionProvider (CUDA: no driver)\n" in text
    assert "  Metrics            off\n" in text
    assert "http://127.0.0.1:8000/v1/cutout" in text


def test_a_terminal_gets_the_addresses_for_a_browser() -> None:
    cases = ((READY, False), (READY, True), (replace(READY, has_page=True), True))
    texts = [banner_of(ready, is_terminal=is_terminal) for ready, is_terminal in cases]
    pages = [
        [line.split() for line in text.splitlines() if line.startswith(("  Page", "  API"))] for text in texts
    ]

    assert [
        [],
        [["API", "http://127.0.0.1:8000/docs"]],
        [["Page", "http://127.0.0.1:8000/"], ["API", "http://127.0.0.1:8000/docs"]],
    ] == pages


def test_the_browser_opens_the_page_if_there_is_one() -> None:
    assert "http://127.0.0.1:8000/docs" == READY.page
    assert "http://127.0.0.1:8000/" == replace(READY, has_page=True).page


def test_a_browser_is_opened_without_waiting_for_it() -> None:
    opened: list[str] = []

    class Recorder(webbrowser.BaseBrowser):
        def open(self, url: str, new: int = 0, autoraise: bool = True) -> bool:
            opened.append(url)
            return True

    webbrowser.register("recorder", None, Recorder("recorder"), preferred=True)
    open_browser(READY.page).join(10)

    assert [READY.page] == opened


def test_the_example_picture_of_the_command_exists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert "@photo.jpg" in banner_of(READY, is_terminal=False)
