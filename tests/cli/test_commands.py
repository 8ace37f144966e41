"""Errors of commands: a sentence on stderr, without an errno or a traceback."""

import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from app.cli.commands import run


@pytest.fixture
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a wrong kind of file for everything that a command reads."""
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "file").touch()
    broken = tmp_path / "models" / "broken"
    broken.mkdir(parents=True)
    (broken / "manifest.json").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ("remove nowhere.jpg -o out.png", {}, "nowhere.jpg: no such file or directory"),
        ("remove file/photo.jpg", {}, "file/photo.jpg: not a directory"),
        ("remove folder.png --mask nowhere.png", {}, "nowhere.png: no such file or directory"),
        ("serve --port 99999", {}, "cannot listen on 127.0.0.1 port 99999: "),
        ("serve --host nowhere", {}, "'nowhere' does not appear to be an IPv4 or IPv6 address"),
        ("serve", {"CUTOUT_WEB__PORT": "lots"}, "CUTOUT_WEB__PORT: "),
        ("serve", {"CUTOUT_WEB__CORS_ORIGINS": "shop"}, "CUTOUT_WEB__CORS_ORIGINS: 'shop' is not an origin"),
        ("serve --model U/", {}, "CUTOUT_MODELS: "),
        ("keys new ü", {}, "the name of a key is"),
        ("models verify", {"CUTOUT_MODELS_DIR": "file"}, "there is no model in file"),
        ("models list", {"CUTOUT_NOTHING": "1"}, "Unknown settings: CUTOUT_NOTHING"),
        ("models verify broken", {}, "broken/manifest.json cannot be read: is a directory"),
        ("models fetch u2netp --from file", {"CUTOUT_MODELS_DIR": "file"}, "not a directory"),
    ],
)
def test_a_failed_command_prints_a_readable_error(
    working_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: str,
    environment: dict[str, str],
    expected: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["cutout", *arguments.split()])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        run()
    output = "".join(capsys.readouterr())

    assert ended.value.code == 1
    assert expected in output
    assert not re.search(r"Errno|Traceback|Value error|\[Err", output)


def test_the_version_is_that_of_the_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cutout", "--version"])
    with pytest.raises(SystemExit) as ended:
        run()

    assert ended.value.code == 0
    assert capsys.readouterr().out == f"cutout {version('cutout-server')}\n"
