"""Messages: what a cell and its parent say to each other over a socket.

A message is JSON with plain facts, and the buffers whose lengths it names: nothing a cell could say is run,
and it can say no more than it is asked for.
"""

import json
import socket
from collections.abc import Callable, Mapping

_MAX_HEAD_BYTES = 64 * 1024

ResultInfo = Mapping[str, object]
Buffer = bytes | memoryview
Message = tuple[dict[str, object], list[bytearray]]


def send_message(channel: socket.socket, facts: ResultInfo, *buffers: Buffer) -> None:
    """Send facts and the buffers that belong to them."""
    views = [memoryview(buffer).cast("B") for buffer in buffers]
    head = json.dumps({"facts": facts, "lengths": [len(view) for view in views]}).encode()
    channel.sendall(len(head).to_bytes(4, "big") + head)
    for view in views:
        channel.sendall(view)


def receive_message(
    channel: socket.socket, *, max_bytes: int, left_s: Callable[[], float] | None = None
) -> Message:
    """Receive facts and their buffers.

    Args:
        channel: Where from.
        max_bytes: What the buffers may have together.
        left_s: Says how long the message may still take; without it, for ever.

    Raises:
        EOFError: The other end is closed.
        ValueError: What came is no message, or is too long.
        TimeoutError: It did not come in time.
    """
    length = int.from_bytes(_receive(channel, 4, left_s), "big")
    if length > _MAX_HEAD_BYTES:
        raise ValueError("the head of a message is too long")
    head = json.loads(_receive(channel, length, left_s))
    facts, lengths = head["facts"], head["lengths"]
    if not isinstance(facts, dict) or not all(isinstance(n, int) and n >= 0 for n in lengths):
        raise ValueError("the head of a message is not one")
    if sum(lengths) > max_bytes:
        raise ValueError("a message is longer than it may be")
    return facts, [_receive(channel, n, left_s) for n in lengths]


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
