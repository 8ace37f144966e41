"""Sandbox messages: the protocol between a sandbox and its parent, over a socket.

A message is a JSON header with plain fields and the lengths of the buffers that follow it. So the parent
never executes data from a sandbox, and limits how much of it it reads.
"""

import json
import socket
from collections.abc import Callable, Mapping

_MAX_HEADER_BYTES = 64 * 1024

Fields = Mapping[str, object]
Buffer = bytes | memoryview
Message = tuple[dict[str, object], list[bytearray]]


def send_message(channel: socket.socket, fields: Fields, *buffers: Buffer) -> None:
    """Send fields and buffers as one message."""
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    header = json.dumps({"fields": fields, "lengths": [len(view) for view in views]}).encode()
    channel.sendall(len(header).to_bytes(4, "big") + header)
    for view in views:
        channel.sendall(view)


def receive_message(
    channel: socket.socket, *, max_bytes: int, left_s: Callable[[], float] | None = None
) -> Message:
    """Receive the fields and the buffers of one message.

    Args:
        channel: The socket to read from.
        max_bytes: The maximum total size of the buffers.
        left_s: Returns the seconds left for the message; without it there is no time limit.

    Raises:
        EOFError: The other end closed the socket.
        ValueError: The message is malformed or too long.
        TimeoutError: The message did not arrive in time.
    """
    length = int.from_bytes(_receive(channel, 4, left_s), "big")
    if length > _MAX_HEADER_BYTES:
        raise ValueError("the header of the message is too long")
    header = json.loads(_receive(channel, length, left_s))
    fields, lengths = header["fields"], header["lengths"]
    if not isinstance(fields, dict) or not all(isinstance(n, int) and n >= 0 for n in lengths):
        raise ValueError("the header of the message is malformed")
    if sum(lengths) > max_bytes:
        raise ValueError("the message exceeds its maximum size")
    return fields, [_receive(channel, n, left_s) for n in lengths]


def _receive(channel: socket.socket, length: int, left_s: Callable[[], float] | None) -> bytearray:
    received = bytearray(length)
    view = memoryview(received)
    while view:
        if left_s is not None:
            channel.settimeout(max(0.001, left_s()))
        count = channel.recv_into(view)
        if count == 0:
            raise EOFError
        view = view[count:]
    return received
