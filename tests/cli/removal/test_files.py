import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.removal.files import HOST, MAX_AGE_S, identities_of, remove_stale, write_result


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_result_is_written_with_its_folders(tmp_path: Path) -> None:
    write_result(tmp_path / "a" / "b.png", b"result", replaces=False, inputs=())

    assert b"result" == (tmp_path / "a" / "b.png").read_bytes()
    assert ["b.png"] == names_in(tmp_path / "a")


def test_the_mode_of_a_result_follows_the_umask(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    write_result(tmp_path / "b.png", b"", replaces=False, inputs=())

    assert (tmp_path / "usual").stat().st_mode == (tmp_path / "b.png").stat().st_mode


def test_an_existing_file_is_kept_unless_it_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "b.png"
    target.write_bytes(b"old")
    with pytest.raises(FileExistsError, match="file exists"):
        write_result(target, b"new", replaces=False, inputs=())
    assert b"old" == target.read_bytes()
    write_result(target, b"new", replaces=True, inputs=())

    assert b"new" == target.read_bytes()
    assert ["b.png"] == names_in(tmp_path)


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_an_input_is_never_replaced_by_any_of_its_names(tmp_path: Path, link: object) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"picture")
    link(picture, tmp_path / "b.png")  # type: ignore[operator]
    inputs = identities_of([picture, tmp_path / "nowhere.png"])
    for name in ("a.png", "b.png"):
        with pytest.raises(FileExistsError, match="is one of the pictures to read"):
            write_result(tmp_path / name, b"result", replaces=True, inputs=inputs)

    assert b"picture" == picture.read_bytes()
    assert ["a.png", "b.png"] == names_in(tmp_path)


def test_an_error_names_the_result_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(OSError, match=r"folder\.png") as refusal:
        write_result(tmp_path / "folder.png", b"result", replaces=True, inputs=())

    assert ".part" not in str(refusal.value)
    assert ["folder.png"] == names_in(tmp_path)


@pytest.mark.process
def test_temporary_files_of_ended_processes_are_removed(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True)
    names = {
        "dead": f".cutout-{HOST}-{int(ended.stdout)}-0.part",
        "running": f".cutout-{HOST}-{os.getpid()}-0.part",
        "elsewhere": f".cutout-{'0' * 8}-{int(ended.stdout)}-0.part",
        "old": f".cutout-{'0' * 8}-1-0.part",
        "other": "photo.part",
    }
    for name in names.values():
        (tmp_path / name).touch()
    os.utime(tmp_path / names["old"], (0, (tmp_path / names["old"]).stat().st_mtime - MAX_AGE_S - 60))

    assert 2 == remove_stale(tmp_path)
    assert sorted(names[key] for key in ("running", "elsewhere", "other")) == names_in(tmp_path)
    assert 0 == remove_stale(tmp_path / "nowhere")
