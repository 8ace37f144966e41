"""A real HTTP server on this machine that gives out files, with the manners a test asks for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What the server gives out, how it behaves, and what it was asked for.

    ``break_after_bytes`` closes the connection once, early in the next answer.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    knows_ranges: bool = True
    break_after_bytes: int | None = None
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def give(self, name: str, content: bytes) -> str:
        """Give out ``content`` and return its URL."""
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Run a server for as long as the block lasts."""
    state = FileServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(state: FileServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if wanted and state.knows_ranges and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if wanted and state.knows_ranges:
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
                content = content[start:]
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            end, state.break_after_bytes = state.break_after_bytes, None
            self.wfile.write(content[:end])

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
