"""``cutout remove`` as a process: killed, interrupted, in a pipe, on a terminal, and watching a folder."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.pictures import jpeg, opened, photo

pytestmark = [pytest.mark.process, pytest.mark.slow]
CUTOUT = Path(sys.executable).with_name("cutout")
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(fast_models: Path, tmp_path: Path) -> Iterator[Start]:
    """Start ``cutout`` processes, which are killed at the end of the test."""
    running: list[subprocess.Popen[bytes]] = []
    clean = {name: value for name, value in os.environ.items() if not name.startswith("CUTOUT_")}
    environment = {
        **clean,
        "CUTOUT_MODELS_DIR": str(fast_models),
        "CUTOUT_MODELS": "u2netp",
        "COLUMNS": "120",
    }

    def run(*arguments: str, **streams: object) -> "subprocess.Popen[bytes]":
        streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.PIPE, **streams}
        process = subprocess.Popen([str(CUTOUT), *arguments], cwd=tmp_path, env=environment, **streams)  # type: ignore[call-overload]
        running.append(process)
        return process

    yield run
    for process in running:
        process.kill()
        process.wait()


def wait_until(is_so: Callable[[], bool], within_s: float = 120) -> None:
    give_up_at_s = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < give_up_at_s
        time.sleep(0.01)


def fill(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:03}.jpg").write_bytes(jpeg(photo(160, 200, seed=number)))


def results_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*-cutout.png")}


def test_a_killed_run_leaves_whole_files_and_the_next_one_does_the_rest(
    start: Start, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    fill(folder, 60)
    process = start("remove", "in")
    wait_until(lambda: len(results_in(folder)) >= 20)
    process.kill()
    process.wait()
    before = results_in(folder)
    shapes = {opened((folder / name).read_bytes()).shape for name in before}
    result = command("remove", "in")

    assert {(160, 200, 4)} == shapes
    assert 20 <= len(before) < 60
    assert f"{60 - len(before)} written, {len(before)} skipped" in result.stderr
    assert 60 == len(results_in(folder))
    assert before.items() <= results_in(folder).items()
    assert [] == list(folder.glob(".*"))


def test_ctrl_c_finishes_what_is_in_flight_and_says_how_to_go_on(
    start: Start, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    fill(folder, 60)
    process = start("remove", "in", "--report", "report.json")
    wait_until(lambda: len(results_in(folder)) >= 5)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    written = results_in(folder)
    totals = json.loads((tmp_path / "report.json").read_text())["totals"]
    result = command("remove", "in")

    assert 130 == process.returncode
    assert b"interrupted: the same command, without --force, goes on where it was" in stderr
    assert b"Traceback" not in stderr
    assert (len(written), 60 - len(written), 0) == (totals["written"], totals["pending"], totals["failed"])
    assert f"{60 - len(written)} written, {len(written)} skipped" in result.stderr


def test_a_picture_goes_through_a_pipe(start: Start, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(photo(60, 80)))
    cat = subprocess.Popen(["cat", str(tmp_path / "photo.jpg")], stdout=subprocess.PIPE)
    process = start("remove", "-", stdin=cat.stdout, stdout=subprocess.PIPE)
    stdout, stderr = process.communicate(timeout=120)

    assert (0, 0) == (process.returncode, cat.wait())
    assert (60, 80, 4) == opened(stdout).shape
    assert 1 == len(stderr.splitlines())


def test_a_watched_folder_gives_files_once_they_are_complete(start: Start, tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    fill(folder, 1)
    process = start("remove", "--watch", "in", "-o", "out")
    wait_until(lambda: (out / "000-cutout.png").exists())
    upload = jpeg(photo(300, 400))
    (tmp_path / "elsewhere").write_bytes(upload)
    with (folder / "slow.jpg").open("wb") as file:
        for begin in range(0, len(upload), len(upload) // 6):
            file.write(upload[begin : begin + len(upload) // 6])
            file.flush()
            time.sleep(0.4)
            assert not (out / "slow-cutout.png").exists()
    (tmp_path / "elsewhere").rename(folder / "renamed.jpg")
    wait_until(lambda: len(results_in(out)) == 3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)

    assert 130 == process.returncode
    assert {(300, 400, 4)} == {
        opened((out / f"{n}-cutout.png").read_bytes()).shape for n in ("slow", "renamed")
    }
    assert b"3 written;" in stderr


def test_a_terminal_shows_a_bar_and_then_a_table(start: Start, tmp_path: Path) -> None:
    fill(tmp_path / "in", 30)
    for name in ("bad 1.jpg", "bad 2.jpg"):
        (tmp_path / "in" / name).write_bytes(b"nothing")
    master, slave = pty.openpty()
    process = start("remove", "in", stderr=slave)
    os.close(slave)
    shown = b"".join(iter(lambda: _read(master), b"")).decode()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)

    assert 1 == process.wait(60)
    assert re.search(r"\d+/32 +\d+\.\d\d/s 0:00:\d\d in/0\d\d\.jpg", text)
    assert re.search(r"File +Problem +\r\n", text)
    assert "30 written, 2 failed" in text
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is shown again


def _read(master: int) -> bytes:
    """Read from a terminal until its other end is closed."""
    select.select([master], [], [], 120)
    try:
        return os.read(master, 65536)
    except OSError:
        return b""


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_matter_to_a_file(closed: str, fast_models: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(photo(40, 50)))
    environment = {**os.environ, "CUTOUT_MODELS_DIR": str(fast_models), "CUTOUT_MODELS": "u2netp"}
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {CUTOUT} remove a.jpg {closed}"], cwd=tmp_path, env=environment, check=False
    )

    assert 0 == ended.returncode
    assert (40, 50) == opened((tmp_path / "a-cutout.png").read_bytes()).shape[:2]


def test_a_closed_standard_output_loses_no_result_silently(fast_models: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(photo(40, 50)))
    environment = {**os.environ, "CUTOUT_MODELS_DIR": str(fast_models), "CUTOUT_MODELS": "u2netp"}
    ended = subprocess.run(
        ["/bin/sh", "-c", f"exec {CUTOUT} remove - < a.jpg >&-"],
        cwd=tmp_path,
        env=environment,
        check=False,
        stderr=subprocess.PIPE,
    )

    assert 1 == ended.returncode
    assert b"bad file descriptor" in ended.stderr
