import pytest

from app.errors import MalformedRequest
from app.web.request.multipart_stream import MultipartStream, PartBegun, PartContent, PartEnded

BODY = (
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="a \xc3\xbc.jpg"\r\n'
    b"Content-Type: Image/JPEG; x=y\r\n\r\nfirst\r\nline\r\n"
    b'--b\r\ncontent-disposition: form-data; name="crop"\r\n\r\n\r\n--b--\r\n'
)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_parts_are_read_in_pieces_of_any_size(step: int) -> None:
    stream = MultipartStream(b"b")
    events = [e for start in range(0, len(BODY), step) for e in stream.feed(BODY[start : start + step])]
    stream.close()

    content = b"".join(e.content for e in events if isinstance(e, PartContent))
    assert content == b"first\r\nline"
    assert [
        PartBegun("image", "a ü.jpg", "image/jpeg"),
        PartEnded(),
        PartBegun("crop", None, ""),
        PartEnded(),
    ] == [e for e in events if not isinstance(e, PartContent)]


def test_a_part_is_not_held() -> None:
    stream = MultipartStream(b"b")
    list(stream.feed(BODY[: BODY.index(b"first")]))
    for _ in range(50):
        assert sum(len(e.content) for e in stream.feed(bytes(10_000)) if isinstance(e, PartContent)) >= 9_990


@pytest.mark.parametrize("body", [BODY[:50], BODY[:-6], b"--b"])
def test_a_truncated_form_is_refused_at_its_end(body: bytes) -> None:
    stream = MultipartStream(b"b")
    list(stream.feed(body))
    with pytest.raises(MalformedRequest):
        stream.close()


@pytest.mark.parametrize(
    "body", [b"--x\r\n", b"--b\r\nno header\r\n\r\n", b"--b\r\n" + b"a: b\r\n" * 9 + b"\r\n"]
)
def test_a_malformed_form_is_refused(body: bytes) -> None:
    stream = MultipartStream(b"b")
    with pytest.raises(MalformedRequest):
        list(stream.feed(body))


def test_a_name_that_is_not_utf8_is_refused() -> None:
    stream = MultipartStream(b"b")
    with pytest.raises(MalformedRequest):
        list(stream.feed(b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx'))
