"""A real local HTTP server for files, whose behaviour a test chooses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """The server's files, its behaviour and its log of requests.

    ``requests`` lists the path and the ``Range`` header of each request. ``break_after_bytes`` closes the
    connection once, that many bytes into the next response.
    """

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    supports_ranges: bool = True
    break_after_bytes: int | None = None
    requests: list[tuple[str, str | None]] = field(default_factory=list)

    def add(self, name: str, content: bytes) -> str:
        """Serve ``content`` under a name and return its URL."""
        self.files[f"/{name}"] = content
        return f"{self.url}/{name}"


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Run a server until the end of the block."""
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
            byte_range = self.headers.get("Range")
            state.requests.append((self.path, byte_range))
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(byte_range.removeprefix("bytes=").removesuffix("-")) if byte_range else 0
            if byte_range and state.supports_ranges and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if byte_range and state.supports_ranges:
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
            """Log nothing."""

    return Handler
