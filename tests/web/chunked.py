"""Requests with chunked bodies, as bytes."""

HEAD = b"POST /read HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n"
END = b"0\r\n\r\n"


def chunked(count: int, size: int) -> bytes:
    return (b"%x\r\n" % size + b"x" * size + b"\r\n") * count


def bodies_of(received: bytes) -> list[bytes]:
    return [response.partition(b"\r\n\r\n")[2] for response in received.split(b"HTTP/1.1 200 OK")[1:]]
