import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import CorruptArchive, MalformedRequest, UploadTooLarge
from app.web.batch.upload import BatchUpload, Field
from app.web.request.zip_stream import EntryBegun, EntryContent, EntryEnded
from tests.generated import examples

FORM = "multipart/form-data; boundary=b"


def zipped(**files: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as bundle:
        for name, content in files.items():
            bundle.writestr(zipfile.ZipInfo(name), content)  # with a fixed time, since it is part of test ids
    return target.getvalue()


def part(name: str, content: bytes, file_name: str | None = None) -> bytes:
    shown = "" if file_name is None else f'; filename="{file_name}"'
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def read(body: bytes, content_type: str, step: int = 7, *, limit: int = 1000) -> list[tuple[str, object]]:
    upload = BatchUpload(content_type, limit)
    found: list[tuple[str, object]] = []
    for start in range(0, len(body), step):
        for event in upload.feed(body[start : start + step]):
            note(event, found)
    for event in upload.close():
        note(event, found)
    return found


def note(event: object, found: list[tuple[str, object]]) -> None:
    if isinstance(event, Field):
        found.append((f"field {event.name}", event.value))
    elif isinstance(event, EntryBegun):
        found.append((event.name, b""))
    elif isinstance(event, EntryContent):
        found[-1] = found[-1][0], bytes(found[-1][1]) + event.content  # type: ignore[call-overload]
    elif isinstance(event, EntryEnded) and event.error is not None:
        found[-1] = found[-1][0], type(event.error)


@given(st.integers(1, 400))
def test_a_form_yields_fields_and_pictures_in_their_order(step: int) -> None:
    body = b"".join(
        [
            part("options", b"{}"),
            part("image", b"first", "a.jpg"),
            part("file", b"second"),
            part("pictures", zipped(c=b"third", d=b"fourth"), "all.zip"),
            part("image", b"", "Übung.jpg"),
            b"--b--\r\n",
        ]
    )

    assert [
        ("field options", b"{}"),
        ("a.jpg", b"first"),
        ("image-2", b"second"),
        ("c", b"third"),
        ("d", b"fourth"),
        ("Übung.jpg", b""),
    ] == read(body, FORM, step)


def test_a_zip_is_found_by_its_first_bytes_whatever_its_type() -> None:
    for content_type in ("application/zip", "", "application/x-www-form-urlencoded", "text/plain"):
        assert [("a", b"x")] == read(zipped(a=b"x"), content_type, 1)


def test_a_picture_over_the_limit_fails_alone() -> None:
    body = part("image", bytes(1001), "a") + part("image", b"good", "b") + b"--b--\r\n"

    (large, error), good = read(body, FORM, 100)
    assert (large, error) == ("a", UploadTooLarge)
    assert good == ("b", b"good")


@pytest.mark.parametrize(
    ("body", "content_type", "error"),
    [
        (b"hello", "application/zip", CorruptArchive),
        (b"PK", "application/zip", CorruptArchive),
        (b"", "application/zip", CorruptArchive),
        (zipped(a=b"x")[:20], "application/zip", CorruptArchive),
        (part("image", b"x", "a"), FORM, MalformedRequest),
        (b"--c\r\n", FORM, MalformedRequest),
        (part("pictures", b"no zip", "all.zip") + b"--b--", FORM, CorruptArchive),
        (part("options", bytes(600_000)) + b"--b--", FORM, MalformedRequest),
        (part("x", b"") * 2049 + b"--b--", FORM, MalformedRequest),
        (b"x" * 9, "multipart/form-data", MalformedRequest),
        (b"x" * 9, "multipart/form-data; boundary=" + "b" * 999, MalformedRequest),
    ],
)
def test_other_bodies_are_refused(body: bytes, content_type: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(body, content_type, 1000)


PIECES = [
    *(b"--b\r\n", b"--b--\r\n", b"\r\n", b"\r\n\r\n", b"--b", b"picture", b"PK\3\4"),
    part("image", b"one", "a.jpg"),
    part("format", b"webp"),
    part("pictures", zipped(c=b"3"), "z.zip"),
    b'Content-Disposition: form-data; name="image"; filename="b"\r\n\r\n',
]


def outcome(body: bytes, step: int) -> object:
    try:
        return read(body, FORM, step)
    except (MalformedRequest, CorruptArchive) as error:
        return type(error)


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=9), max_size=9), st.integers(1, 50))
@examples(1)
def test_any_form_is_read_or_refused_alike_however_it_arrives(pieces: list[bytes], step: int) -> None:
    body = b"--b\r\n" + b"".join(pieces)

    assert outcome(body, len(body)) == outcome(body, step)
