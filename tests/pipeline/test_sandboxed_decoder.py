"""The sandboxed decoder returns what ``decode`` returns, and survives hostile pictures."""

import os
import resource
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from app.engine.clock import Clock, SystemClock
from app.engine.threads.sandbox import SandboxPool
from app.errors import CorruptPicture, CutoutError, Overloaded, PictureTooComplex
from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.sniff import Header, check_size, sniff
from app.pipeline.sandboxed_decoder import COMMAND, FORGOTTEN_AFTER_S, SandboxedDecoder
from tests.bombs import png_of, rows, text
from tests.fakes import ManualClock
from tests.imaging.properties import clap, with_property
from tests.pictures import avif, gif, heic, jpeg, noise, photo, png, webp

pytestmark = pytest.mark.process
LIMIT_PX = 50_000_000
HOSTILE_SANDBOX = """
import os, socket
from app.engine.threads.sandbox_messages import receive_message, send_message
channel = socket.socket(fileno=os.dup(0))
send_message(channel, {"ready": True})
while True:
    info, (upload,) = receive_message(channel, max_bytes=10**9)
    if upload == b"die": os._exit(1)
    if upload == b"crash": os.kill(os.getpid(), 11)
    if upload == b"killed": os.kill(os.getpid(), 9)
    if upload == b"killed once" and not os.path.exists(info["header"]["media_type"]):
        open(info["header"]["media_type"], "w").close()
        os.kill(os.getpid(), 9)
    while upload == b"hang": pass
    if upload == b"lie": send_message(channel, {"size": [2, 2], "warnings": []}, bytes(5))
    if upload == b"invent": send_message(channel, {"error": "SystemExit", "text": "x"})
    if upload == b"swell": send_message(channel, {"error": "memory"})
    if upload == b"killed once": send_message(channel, {"size": [2, 2], "warnings": []}, bytes(12))
"""
TWO_BY_TWO = Header("png", 2, 2, "image/png")


@pytest.fixture(scope="module")
def isolated() -> SandboxedDecoder:
    sandboxes = SandboxPool(COMMAND, 2, 60.0, SystemClock())
    sandboxes.start()
    return SandboxedDecoder(sandboxes, LIMIT_PX)


def hostile_decoder(timeout_s: float = 60.0, *, clock: Clock | None = None) -> SandboxedDecoder:
    sandboxes = SandboxPool((sys.executable, "-c", HOSTILE_SANDBOX), 1, timeout_s, clock or SystemClock())
    sandboxes.start()
    return SandboxedDecoder(sandboxes, LIMIT_PX)


def outcome(decoder: Callable[[bytes, Header], Picture], upload: bytes) -> tuple[object, ...]:
    try:
        header = sniff(upload)
        check_size(header, limit_px=LIMIT_PX, limit_side_px=16_384)
        picture = decoder(upload, header)
    except CutoutError as error:
        return type(error), str(error)
    alpha = None if picture.own_alpha is None else picture.own_alpha.tobytes()
    return picture.rgb.shape, picture.rgb.tobytes(), alpha, picture.warnings


PICTURES = {
    "jpeg": jpeg(photo(60, 80)),
    "png": png(photo(60, 80)),
    "png with alpha": png(noise((60, 80, 4))),
    "webp": webp(photo(60, 80)),
    "avif": avif(photo(60, 80)),
    "gif": gif(photo(60, 80), photo(60, 80)),
    "heic": heic(photo(64, 80)),
    "cut to its aperture": with_property(avif(photo(96, 128)), b"clap", clap(100, 60)),
    "turned": jpeg(photo(60, 80), exif_orientation=6),
    "turned with alpha": png(noise((60, 80, 4)), exif_orientation=8),
    "cut": jpeg(photo(60, 80))[:-200],
    "bomb": png_of(8, 8, text(64 * 2**20), rows(8, 8)),
    "large": jpeg(np.tile(photo(300, 400), (10, 10, 1))),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_sandbox_decodes_as_the_server_does(isolated: SandboxedDecoder, name: str) -> None:
    assert outcome(decode, PICTURES[name]) == outcome(isolated, PICTURES[name])


@pytest.mark.filterwarnings("ignore:Invalid APNG")
def test_a_sandbox_decodes_rare_files_within_its_limits(
    isolated: SandboxedDecoder, shared_data: Path
) -> None:
    """No decoder imports or opens anything for a rare file: tries every fourth hostile file."""
    files = sorted((shared_data / "hostile").glob("*/*"))[::4]
    before = isolated.sandboxes.deaths
    different = [
        f.name for f in files if outcome(decode, f.read_bytes()) != outcome(isolated, f.read_bytes())
    ]

    assert len(files) > 200
    assert different == []
    assert isolated.sandboxes.deaths == before


def test_a_picture_that_crashes_two_sandboxes_is_not_tried_again() -> None:
    decoder = hostile_decoder()
    for _ in range(20):
        with pytest.raises(CorruptPicture):
            decoder(b"die", TWO_BY_TWO)

    assert decoder.sandboxes.deaths == 2


@pytest.mark.parametrize("upload", [b"die", b"crash", b"hang"])
def test_a_picture_is_tried_again_after_ten_minutes(upload: bytes) -> None:
    clock = ManualClock()
    decoder = hostile_decoder(timeout_s=0.5, clock=clock)
    for _ in range(2):
        for _ in range(3):
            with pytest.raises((CorruptPicture, PictureTooComplex)):
                decoder(upload, TWO_BY_TWO)
        deaths = decoder.sandboxes.deaths
        clock.advance(FORGOTTEN_AFTER_S)

    assert deaths == (2 if upload == b"hang" else 4)


def test_a_picture_whose_sandboxes_are_killed_is_never_refused_as_corrupt() -> None:
    decoder = hostile_decoder()
    for _ in range(3):
        with pytest.raises(Overloaded) as raised:
            decoder(b"killed", TWO_BY_TWO)

    assert raised.value.retry_after_s == 1
    assert decoder.sandboxes.deaths == 6


def test_a_picture_whose_sandbox_is_killed_once_is_decoded_by_another(tmp_path: Path) -> None:
    decoder = hostile_decoder()
    picture = decoder(b"killed once", Header("png", 2, 2, str(tmp_path / "was here")))

    assert picture.rgb.shape == (2, 2, 3)
    assert decoder.sandboxes.deaths == 1


def test_a_picture_that_takes_too_long_is_not_tried_again() -> None:
    decoder = hostile_decoder(timeout_s=0.5)
    with pytest.raises(PictureTooComplex):
        decoder(b"hang", TWO_BY_TWO)
    with pytest.raises(CorruptPicture):
        decoder(b"hang", TWO_BY_TWO)

    assert decoder.sandboxes.deaths == 1


@pytest.mark.parametrize(
    ("upload", "error"), [(b"lie", ValueError), (b"invent", RuntimeError), (b"swell", MemoryError)]
)
def test_messages_of_a_sandbox_are_not_trusted(upload: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        hostile_decoder()(upload, TWO_BY_TWO)


def test_no_request_fails_because_a_sandbox_was_killed(isolated: SandboxedDecoder) -> None:
    for pid in _sandboxes_of_this_process():
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    for _ in range(4):
        assert outcome(decode, PICTURES["jpeg"]) == outcome(isolated, PICTURES["jpeg"])


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit")
def test_a_sandbox_can_open_nothing_and_allocate_no_more_than_a_picture_needs(
    isolated: SandboxedDecoder,
) -> None:
    with ThreadPoolExecutor(2) as callers:  # a sandbox sets its limits at its first picture
        list(callers.map(lambda _: outcome(isolated, PICTURES["jpeg"]), range(8)))
    used = [
        pid for pid in _sandboxes_of_this_process() if resource.prlimit(pid, resource.RLIMIT_FSIZE) == (0, 0)
    ]
    assert used
    for pid in used:
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (0, 0)
        assert 0 < resource.prlimit(pid, resource.RLIMIT_AS)[1] < 2**32


def _sandboxes_of_this_process() -> list[int]:
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [int(pid) for file in children for pid in file.read_text().split()]
    return [
        pid for pid in pids if b"app.pipeline.sandboxed_decoder" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
