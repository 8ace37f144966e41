"""Batches over real sockets: hundreds of pictures, broken ones, and clients that leave or do not read."""

import io
import json
import socket
import struct
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.bombs import png_of, rows
from tests.pictures import jpeg, noise, photo, png
from tests.web.conftest import Live, serving, settings_with

pytestmark = pytest.mark.process
GOOD, CORRUPT = 295, 3
ZIP, LINES = {"Content-Type": "application/zip"}, {"Accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def live(models_dir: Path) -> Iterator[Live]:
    with serving(settings_with(models_dir)) as served:
        yield served


def picture(seed: int) -> bytes:
    return jpeg(photo(40, 60, seed))


def packed(files: list[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as bundle:
        for name, content in files:
            bundle.writestr(name, content)
    return target.getvalue()


@pytest.fixture(scope="module")
def catalogue() -> bytes:
    """300 files: three corrupt, a bomb, and one with a name that leaves its folder."""
    pictures = [picture(seed) for seed in range(5)]
    files = [(f"shop/{i:03}.jpg", pictures[i % 5]) for i in range(GOOD)]
    broken = [(f"shop/corrupt-{i}.jpg", pictures[i][:300]) for i in range(CORRUPT)]
    bomb = [("shop/bomb.png", png_of(65_000, 65_000, rows(1, 65_000)))]
    evil = [("../../etc/evil.jpg", pictures[0])]
    mixed = files[:100] + broken + files[100:200] + bomb + files[200:250] + evil + files[250:]
    return packed(mixed)


def outcomes(report: list[dict[str, object]]) -> tuple[int, dict[str, str]]:
    failed = {str(item["name"]): item["problem"]["type"] for item in report if "problem" in item}  # type: ignore[index]
    return sum(item["status"] == 200 for item in report), failed


EXPECTED = {
    **{f"shop/corrupt-{i}.jpg": "/problems/corrupt-picture" for i in range(CORRUPT)},
    "shop/bomb.png": "/problems/picture-too-large",
    "../../etc/evil.jpg": "/problems/entry-refused",
}


def test_a_catalogue_comes_back_as_a_zip_with_a_report(live: Live, catalogue: bytes) -> None:
    response = live.client.post("/v1/batch", content=catalogue, headers=ZIP)
    with zipfile.ZipFile(io.BytesIO(response.content)) as bundle:
        names = bundle.namelist()
        report = json.loads(bundle.read("report.json"))
        first = bundle.read("shop/000-cutout.png")
        assert bundle.testzip() is None

    assert (GOOD, EXPECTED) == outcomes(report["items"])
    assert {f"shop/{i:03}-cutout.png" for i in range(GOOD)} | {"report.json"} == set(names)
    assert names[-1] == "report.json"
    assert (report["succeeded"], report["failed"], report["problem"]) == (GOOD, 5, None)
    assert live.client.post("/v1/cutout", content=picture(0)).content == first


def test_the_same_as_lines_of_json(live: Live, catalogue: bytes) -> None:
    response = live.client.post("/v1/batch", content=catalogue, headers=LINES)
    *items, last = [json.loads(line) for line in response.text.splitlines()]

    assert response.headers["content-type"] == "application/x-ndjson"
    assert (GOOD, EXPECTED) == outcomes(items)
    assert all("image" in item and "verdict" in item for item in items if item["status"] == 200)
    assert (last["batch"]["succeeded"], last["batch"]["failed"]) == (GOOD, 5)


def begin(live: Live, length: int, headers: str = "") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", live.port), timeout=30)
    head = f"POST /v1/batch HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n{headers}\r\n"
    client.sendall(head.encode())
    return client


def test_the_first_result_comes_before_half_of_the_upload_is_sent(live: Live, catalogue: bytes) -> None:
    with begin(live, len(catalogue), "Accept: application/x-ndjson\r\n") as client:
        client.sendall(catalogue[: len(catalogue) // 20])
        received = b""
        while b'"image"' not in received:
            chunk = client.recv(65536)
            assert chunk, received
            received += chunk

    assert b"HTTP/1.1 200" in received


def free(live: Live) -> bool:
    admission, batches = live.service.admission, live.service.batches
    return not (
        admission.requests
        or admission.upload_bytes
        or admission.pixels
        or admission.memory_bytes
        or batches.batches
        or batches.pictures
    )


def wait_until_free(live: Live) -> None:
    give_up_at_s = time.monotonic() + 10
    while not free(live):
        assert time.monotonic() < give_up_at_s, vars(live.service.admission)
        time.sleep(0.02)


@pytest.mark.parametrize("resets", [False, True])
def test_a_client_that_leaves_at_a_third_frees_everything(live: Live, catalogue: bytes, resets: bool) -> None:
    with begin(live, len(catalogue)) as client:
        client.sendall(catalogue[: len(catalogue) // 3])
        client.recv(1000)
        was_free = free(live)
        if resets:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until_free(live)

    assert [False, True] == [was_free, free(live)]


def test_a_truncated_zip_returns_the_results_so_far(live: Live) -> None:
    content = packed([(f"{i}.jpg", picture(i)) for i in range(9)])
    response = live.client.post("/v1/batch", content=content[: len(content) // 2], headers=LINES)
    *items, last = [json.loads(line) for line in response.text.splitlines()]

    assert last["batch"]["problem"]["type"] == "/problems/corrupt-archive"
    assert [200] * 4 + [422] == sorted(item["status"] for item in items)
    wait_until_free(live)


def test_a_form_of_pictures_with_options_for_all_and_by_name(live: Live) -> None:
    fields = {
        "options": json.dumps({"format": "webp"}),
        "items": json.dumps({"b.jpg": {"format": "png", "crop": True}, "c.jpg": {"results": "mask"}}),
        "skip": json.dumps(["d.jpg"]),
    }
    files = [("image", (f"{name}.jpg", picture(1))) for name in "abcd"]
    response = live.client.post("/v1/batch", data=fields, files=files)
    with zipfile.ZipFile(io.BytesIO(response.content)) as bundle:
        report = {item["name"]: item for item in json.loads(bundle.read("report.json"))["items"]}

    assert {"a-cutout.webp", "b-cutout.png", "c-mask.webp", "report.json"} == set(bundle.namelist())
    assert report["b.jpg"]["width_px"] < report["a.jpg"]["width_px"]
    assert report["d.jpg"] == {"name": "d.jpg", "status": 304}


def test_a_zip_may_be_a_part_of_a_form_with_a_background(live: Live) -> None:
    files = [
        ("background", ("wall.png", png(photo(30, 30)), "image/png")),
        ("pictures", ("all.zip", packed([("a.jpg", picture(1)), ("b.jpg", picture(2))]))),
    ]
    response = live.client.post("/v1/batch", data={"format": "jpeg"}, files=files)
    with zipfile.ZipFile(io.BytesIO(response.content)) as bundle:
        assert {"a-cutout.jpg", "b-cutout.jpg", "report.json"} == set(bundle.namelist())
    wait_until_free(live)


@pytest.mark.parametrize(
    ("content", "query", "status", "slug"),
    [
        (b"hello, world", "", 422, "corrupt-archive"),
        (b"", "", 422, "corrupt-archive"),
        (packed([]), "", 400, "malformed-request"),
        (packed([("a.jpg", b"x")]), "crop=maybe", 422, "invalid-option"),
        (packed([("a.jpg", b"x")]), "colour=red", 400, "unknown-option"),
        (packed([("a.jpg", b"x")]), "items=[]", 400, "malformed-request"),
    ],
)
def test_a_batch_that_cannot_begin_is_refused_as_a_whole(
    live: Live, content: bytes, query: str, status: int, slug: str
) -> None:
    response = live.client.post(f"/v1/batch?{query}", content=content, headers=ZIP)

    assert (status, f"/problems/{slug}") == (response.status_code, response.json()["type"])


def test_wrong_options_of_one_picture_affect_it_alone(live: Live) -> None:
    query = {"items": json.dumps({"a.jpg": {"crop": 7}})}
    content = packed([("a.jpg", picture(1)), ("b.jpg", picture(2))])
    response = live.client.post("/v1/batch", params=query, content=content, headers=LINES)
    items = [json.loads(line) for line in response.text.splitlines()[:-1]]

    assert {"a.jpg": 422, "b.jpg": 200} == {item["name"]: item["status"] for item in items}


def test_names_that_occur_twice_clutter_folders_and_nested_archives(live: Live) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = packed(
            [
                ("photos/", b""),
                ("photos/a.jpg", picture(1)),
                ("photos/a.jpg", picture(2)),
                ("photos/a.png", png(photo(40, 60))),
                ("photos/.DS_Store", b"x"),
                ("__MACOSX/photos/._a.jpg", b"x"),
                ("inner.zip", packed([("b.jpg", picture(3))])),
            ]
        )
    response = live.client.post("/v1/batch", content=content, headers=ZIP)
    with zipfile.ZipFile(io.BytesIO(response.content)) as bundle:
        report = json.loads(bundle.read("report.json"))
        names = set(bundle.namelist())

    assert {"photos/a-cutout.png", "photos/a-cutout-2.png", "report.json"} == names
    assert report["ignored"] == 3
    assert outcomes(report["items"])[1] == {
        "photos/a.jpg": "/problems/entry-refused",
        "inner.zip": "/problems/unsupported-format",
    }


def test_the_same_idempotency_key_in_progress_is_a_conflict(live: Live, catalogue: bytes) -> None:
    key = "Idempotency-Key: night\r\n"
    with begin(live, len(catalogue), key) as first:
        first.sendall(catalogue[: len(catalogue) // 10])
        first.recv(1000)
        again = live.client.post("/v1/batch", content=catalogue, headers={"Idempotency-Key": "night"})
    wait_until_free(live)
    later = live.client.post(
        "/v1/batch?skip=%5B%22a.jpg%22%5D",
        content=packed([("a.jpg", picture(1))]),
        headers={"Idempotency-Key": "night"},
    )

    assert (again.status_code, again.headers["retry-after"]) == (409, "1")
    assert later.status_code == 200


def test_a_client_that_reads_nothing_before_it_has_sent_everything_is_not_blocked(models_dir: Path) -> None:
    """It gets the results that the server keeps, and the names of the pictures to send again."""
    large = png(noise((450, 450, 3)))
    content = packed([(f"{i}.png", large) for i in range(24)])
    limits = {"write_timeout_s": 1.0, "batch_unread_bytes": 2**18}
    settings = settings_with(models_dir)
    settings = settings.model_copy(update={"limits": settings.limits.model_copy(update=limits)})
    with serving(settings) as live, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", live.port))
        client.settimeout(30)
        head = b"POST /v1/batch?channels=rgba&matting=none&background=red HTTP/1.1\r\nHost: here\r\n"
        client.sendall(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(content))
        client.sendall(content)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)  # from here on it reads fast
        received = b""
        while chunk := client.recv(2**20):
            received += chunk
        wait_until_free(live)
    report = received[received.rindex(b'"items"') :]

    unread = report.count(b'"/problems/results-unread"')
    assert report.count(b'"status": 200') + unread >= 24  # a count may be between two chunks
    assert 0 < unread < 24


def test_other_requests_are_served_meanwhile(live: Live) -> None:
    content = packed([(f"{i}.jpg", picture(i % 5)) for i in range(60)])
    done = threading.Event()
    statuses: list[int] = []

    def send_singles() -> None:
        with httpx.Client(base_url=live.client.base_url, timeout=60) as client:
            while not done.is_set():
                statuses.append(client.post("/v1/mask", content=picture(1)).status_code)

    thread = threading.Thread(target=send_singles)
    thread.start()
    response = live.client.post("/v1/batch", content=content, headers=ZIP)
    done.set()
    thread.join()

    assert response.status_code == 200
    assert len(statuses) > 3
    assert set(statuses) == {200}
