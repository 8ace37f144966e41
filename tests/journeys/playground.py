"""Playground: drives the page in a headless Chromium, and keeps what it logged and requested."""

import base64
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
AXE, AXE_CACHE = "axe-core@4.14.1", ROOT / ".npm"
FAILED_RESPONSE = "Failed to load resource: the server responded with a status of "
DATA_TRANSFER = """(files) => {
  const transfer = new DataTransfer();
  for (const { name, type, text } of files) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, { type }));
  }
  return transfer;
}"""
SLOW_MS = 30_000  # a network on cores that other programs use too


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start Debian's Chromium; skip the test if it is not installed."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed (apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


class Playground:
    """The page in a tab of its own."""

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **context})
        self.page: Page = self.context.new_page()
        self.url = url
        self.problems: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.split("/")[2]))
        self.page.set_default_timeout(SLOW_MS)
        expect.set_options(timeout=SLOW_MS)

    def open(self) -> "Playground":
        """Load the page and the list of models."""
        self.page.goto(self.url)
        expect(self.page.locator("#server")).not_to_be_empty()
        return self

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(message.text)

    def close(self) -> None:
        """Close the tab, and check that it requested nothing from other hosts."""
        self.context.close()
        assert self.hosts <= {self.url.split("/")[2], ""}  # a blob has no host

    def refusals(self) -> list[str]:
        """Return the statuses of refused requests, which a browser logs, and forget them."""
        refused = [each for each in self.problems if each.startswith(FAILED_RESPONSE)]
        self.problems = [each for each in self.problems if each not in refused]
        return [each.removeprefix(FAILED_RESPONSE)[:3] for each in refused]

    def pick(self, *files: Path) -> None:
        """Choose files with the file picker."""
        self.page.set_input_files("#picker", [str(each) for each in files])

    def transfer(self, *files: tuple[str, bytes]) -> Any:
        """Return a ``DataTransfer`` of the page that holds files."""
        described = [
            {
                "name": name,
                "type": f"image/{Path(name).suffix[1:]}",
                "text": base64.b64encode(content).decode(),
            }
            for name, content in files
        ]
        return self.page.evaluate_handle(DATA_TRANSFER, described)

    def row(self, name: str) -> Locator:
        """Return the row of a picture in the queue."""
        return self.page.locator("#queue li").filter(has_text=name)

    def wait_for(self, name: str, state: str = "done") -> None:
        """Wait until a picture has a state."""
        expect(self.row(name).first).to_have_attribute("data-state", state)

    def choose(self, **values: str) -> None:
        """Set controls of the form by their names."""
        for name, value in values.items():
            if self.page.locator(f"details:not([open]) [name={name}]").count():
                self.page.locator("details:not([open]) summary").click()
            control = self.page.locator(f"[name={name}]").first
            kind = control.get_attribute("type")
            if kind == "radio":
                self.page.locator(f"[name={name}][value={value}]").check(force=True)
            elif kind == "checkbox":
                control.check()
            elif control.evaluate("(each) => each.tagName") == "SELECT":
                control.select_option(value)
            else:
                control.fill(value)

    def download(self, button: str = "#download") -> tuple[str, bytes]:
        """Click a button, and return the name and the content of the file that is saved."""
        with self.page.expect_download() as saved:
            self.page.click(button)
        return saved.value.suggested_filename, Path(saved.value.path()).read_bytes()

    def canvas(self, selector: str) -> NDArray[np.uint8]:
        """Return the pixels of a canvas that is drawn: (H, W, 4), straight alpha."""
        is_drawn = """(name) => document.querySelector(name).width !== 300  // the default
            && document.querySelector("#viewport").ariaBusy === "false" """
        self.page.wait_for_function(is_drawn, arg=selector)
        url = self.page.locator(selector).evaluate("(each) => each.toDataURL()")
        return opened(base64.b64decode(url.partition(",")[2]))

    def tab_to(self, selector: str, *, limit: int = 80) -> None:
        """Press Tab until an element has the focus."""
        for _ in range(limit):
            self.page.keyboard.press("Tab")
            if self.page.locator(selector).evaluate("(each) => each === document.activeElement"):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    def violations(self) -> list[str]:
        """Return what axe-core finds wrong, serious or critical, by the rules of WCAG 2.2 A and AA."""
        self.page.evaluate(axe_source())
        tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
        found = self.page.evaluate(f"axe.run({{runOnly: {json.dumps(tags)}}})")
        return [
            f"{each['impact']} {each['id']}: {each['nodes'][0]['html'][:120]}"
            for each in cast("list[dict[str, Any]]", found["violations"])
            if each["impact"] in ("serious", "critical")
        ]


def opened(encoded: bytes) -> NDArray[np.uint8]:
    """Return the pixels of a file: (H, W, 4), straight alpha."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGBA"))


def axe_source() -> str:
    """Return the source of axe-core from npm; skip the test if it cannot be fetched."""
    script = AXE_CACHE / f"{AXE}.js"
    if not script.exists():
        AXE_CACHE.mkdir(exist_ok=True)
        try:
            command = ["npm", "pack", "--silent", "--pack-destination", str(AXE_CACHE), AXE]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            pytest.skip(f"{AXE} cannot be fetched with npm: {error}")
        with tarfile.open(AXE_CACHE / done.stdout.strip()) as archive:
            member = archive.extractfile("package/axe.min.js")
            assert member is not None
            script.write_bytes(member.read())
    return script.read_text(encoding="utf-8")
