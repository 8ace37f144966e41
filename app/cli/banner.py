"""Banner: what ``cutout serve`` prints when it is ready; on a terminal also the addresses for a browser."""

import threading
import webbrowser
from dataclasses import dataclass
from pathlib import Path

EXAMPLE = Path("docs/images/astronaut.jpg")


@dataclass(frozen=True, slots=True)
class ReadyServer:
    """What the banner reports of a server that is ready.

    Attributes:
        address: The URL of the server, without a slash at the end.
        models: The names of its models, the default first.
        provider: The execution provider that runs them.
        why_not_cuda: Why that is not CUDA, if it is the CPU.
        metrics: The URL of the metrics page.
        has_page: Whether there is a page for people at ``/``.
    """

    address: str
    models: tuple[str, ...]
    provider: str
    why_not_cuda: str | None
    metrics: str | None
    has_page: bool = False

    @property
    def page(self) -> str:
        """The URL to open in a browser: the page for people, or the description of the API."""
        return f"{self.address}/" if self.has_page else self.docs

    @property
    def docs(self) -> str:
        """The URL of the description of the API."""
        return f"{self.address}/docs"


def banner_of(ready: ReadyServer, *, is_terminal: bool) -> str:
    """Return the text to print; programs that read it need the address and the metrics only."""
    photo = EXAMPLE if EXAMPLE.exists() else "photo.jpg"
    command = f"curl --data-binary @{photo} -H 'Content-Type: image/jpeg'"
    reason = "" if ready.why_not_cuda is None else f" (CUDA: {ready.why_not_cuda})"
    pages = [f"  API                {ready.docs}"]
    if ready.has_page:
        pages.insert(0, f"  Page               {ready.page}")
    lines = (
        "",
        f"  Cutout listens on  {ready.address}",
        *(pages if is_terminal else ()),
        f"  Models             {', '.join(ready.models)}",
        f"  Runs on            {ready.provider}{reason}",
        f"  Metrics            {ready.metrics or 'off'}",
        "",
        "  Try it:",
        f"  {command} -o cutout.png {ready.address}/v1/cutout",
        "",
    )
    return "\n".join(lines)


def open_browser(url: str) -> threading.Thread:
    """Open a URL in the browser, on a thread: some browsers return only when they are closed."""
    thread = threading.Thread(target=webbrowser.open, args=(url,), name="browser", daemon=True)
    thread.start()
    return thread
