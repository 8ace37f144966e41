"""Connections to a server process, and its state and log events."""

import json
import socket
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.journeys.conftest import Server

# The server process and the supervisor's libraries are found through /proc.
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def stalled_upload(url: str) -> socket.socket:
    """Start a request whose body never arrives; return when the server waits for the body."""
    peer = connection(url)
    peer.sendall(b"POST /v1/mask HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n")
    assert peer.recv(1000).startswith(b"HTTP/1.1 100")
    peer.sendall(b"never whole")
    return peer


def connection(url: str, *, receives_bytes: int | None = None) -> socket.socket:
    address = httpx.URL(url)
    peer = socket.socket()
    if receives_bytes is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives_bytes)
    peer.settimeout(120)
    peer.connect((address.host, address.port))
    return peer


def server_process_of(server: Server) -> int:
    """Return the process id of a supervised server process."""
    parent = server.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


def has_ended(process_id: int, *, within_s: float = 120) -> bool:
    give_up_at_s = time.monotonic() + within_s
    while time.monotonic() < give_up_at_s:
        try:
            state = Path(f"/proc/{process_id}/stat").read_text().rpartition(") ")[2][0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":  # exited, but its parent has not waited for it
            return True
        time.sleep(0.05)
    return False


def events(server: Server, event: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in server.stderr if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def was_cut_off(peer: socket.socket) -> bool:
    """Return whether the server has closed the connection; it is a reset only if bytes were left unread."""
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True
