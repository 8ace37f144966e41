"""``cutout remove`` on real files, in this process, with a fast model."""

import json
import os
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Command
from tests.pictures import avif, disc_alpha, flat, gif, jpeg, opened, photo, png, webp

PHOTO = photo(60, 80)
BROKEN = {
    "empty.jpg": b"",
    "text.jpg": b"this is no picture",
    "cut off.jpg": jpeg(photo(90, 90))[:900],
    "cut off.png": png(photo(90, 90))[:900],
    "header only.webp": webp(PHOTO)[:24],
}


@pytest.fixture
def pictures(command: Command, tmp_path: Path) -> Path:
    """Three pictures in the folder ``in``, one of them in a sub-folder."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(jpeg(PHOTO))
    (folder / "b.png").write_bytes(png(photo(40, 50)))
    (folder / "sub" / "c.webp").write_bytes(webp(PHOTO))
    return folder


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def mixed_pictures(folder: Path, count: int) -> None:
    """Write pictures of several formats and sizes into sub-folders."""
    encoders = (jpeg, png, webp, gif, avif)
    for number in range(count):
        encode = encoders[number % len(encoders) if number % 40 < 5 else number % 3]
        path = folder / f"shelf {number % 4}" / f"{number:03}.{encode.__name__}"
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(encode(photo(24 + number % 17, 30 + number % 13, seed=number)))


@pytest.mark.slow
def test_two_hundred_pictures_with_five_broken_ones(command: Command, tmp_path: Path) -> None:
    mixed_pictures(tmp_path / "in", 195)
    for name, contents in BROKEN.items():
        (tmp_path / "in" / name).write_bytes(contents)
    arguments = ("remove", "in", "--recursive", "-o", "out", "--report", "report.json")
    first = command(*arguments)
    report = json.loads((tmp_path / "report.json").read_text())
    second = command(*arguments)
    again = json.loads((tmp_path / "report.json").read_text())

    assert (1, 1) == (first.exit_code, second.exit_code)
    assert 195 == len(names_in(tmp_path / "out"))
    written = [opened(path.read_bytes()) for path in (tmp_path / "out").rglob("*.png")]
    assert {4} == {pixels.shape[2] for pixels in written}
    assert Counter(written=195, failed=5) == Counter(entry["status"] for entry in report["files"])
    failed = {entry["source"]: entry["problem"] for entry in report["files"] if entry["status"] == "failed"}
    assert {f"in/{name}" for name in BROKEN} == set(failed)
    assert {"unsupported-format", "corrupt-picture"} == {problem["type"] for problem in failed.values()}
    assert all(f"in/{name}: {failed[f'in/{name}']['detail']}" in first.stderr for name in BROKEN)
    assert "195 written, 5 failed" in first.stderr
    assert "0 written, 195 skipped (their results exist), 5 failed" in second.stderr
    assert Counter(skipped=195, failed=5) == Counter(entry["status"] for entry in again["files"])


def test_the_result_is_next_to_its_picture_and_a_line_describes_it(command: Command, pictures: Path) -> None:
    result = command("remove", "in/a.jpg")

    assert 0 == result.exit_code
    assert (
        "in/a-cutout.png: 80 × 60 px, u2netp on CPUExecutionProvider in float32, verdict ok ("
        in result.stderr
    )
    assert (60, 80, 4) == opened((pictures / "a-cutout.png").read_bytes()).shape


def test_a_second_run_over_a_folder_does_nothing(command: Command, pictures: Path) -> None:
    command("remove", "in", "-r")
    written = {path: path.stat().st_mtime_ns for path in pictures.rglob("*-cutout.png")}
    result = command("remove", "in", "-r")

    assert 0 == result.exit_code
    assert 3 == len(written)
    assert "3 left out, as results of an earlier run\n0 written, 3 skipped" in result.stderr
    assert written == {path: path.stat().st_mtime_ns for path in pictures.rglob("*-cutout.png")}


def test_force_replaces_results_but_never_a_picture(command: Command, pictures: Path) -> None:
    before = {name: (pictures / name).read_bytes() for name in names_in(pictures)}
    command("remove", "in", "-r")
    (pictures / "a-cutout.png").write_bytes(b"old")
    result = command("remove", "in", "-r", "--force")
    refused = command("remove", "in", "-o", "in", "--keep-names", "--force")

    assert (0, 2) == (result.exit_code, refused.exit_code)
    assert "the result of in/b.png would replace the input in/b.png" in refused.stderr
    assert (pictures / "a-cutout.png").read_bytes().startswith(b"\x89PNG")
    assert before == {name: (pictures / name).read_bytes() for name in before}


def test_a_link_in_the_place_of_a_result_is_not_followed_to_a_picture(
    command: Command, pictures: Path
) -> None:
    before = (pictures / "b.png").read_bytes()
    os.link(pictures / "b.png", pictures / "a-cutout.png")
    result = command("remove", "in/a.jpg", "in/b.png", "--force")

    assert 1 == result.exit_code
    assert "is one of the pictures to read" in result.stderr
    assert before == (pictures / "b.png").read_bytes() == (pictures / "a-cutout.png").read_bytes()


def test_names_can_be_kept_in_another_folder(command: Command, pictures: Path, tmp_path: Path) -> None:
    result = command("remove", "in", "-r", "-o", "out", "--keep-names", "--format", "webp")

    assert 0 == result.exit_code
    assert ["a.webp", "b.webp", "sub/c.webp"] == names_in(tmp_path / "out")


def test_a_quoted_glob_is_expanded(command: Command, pictures: Path, tmp_path: Path) -> None:
    assert 0 == command("remove", "in/**/*.[jw]*", "-o", "out").exit_code
    assert ["a-cutout.png", "sub/c-cutout.png"] == names_in(tmp_path / "out")


def test_stdin_goes_to_stdout(command: Command) -> None:
    result = command("remove", "-", "--format", "jpeg", "--background", "white", stdin=jpeg(PHOTO))

    assert 0 == result.exit_code
    assert (60, 80, 3) == opened(result.stdout_bytes).shape
    assert "verdict ok" in result.stderr


def test_a_broken_stdin_is_an_error_and_writes_nothing(command: Command) -> None:
    result = command("remove", "-", stdin=b"nothing")

    assert (1, b"") == (result.exit_code, result.stdout_bytes)
    assert "-: This is not an accepted image type." in result.stderr


@pytest.mark.parametrize(
    ("name", "expected"), [("x.webp", "WEBP"), ("x.jpg", "JPEG"), ("x.avif", "AVIF"), ("x.JPEG", "JPEG")]
)
def test_the_suffix_of_the_output_decides_the_format(
    command: Command, pictures: Path, tmp_path: Path, name: str, expected: str
) -> None:
    assert 0 == command("remove", "in/a.jpg", "-o", name, "--background", "white").exit_code
    assert expected == Image.open(tmp_path / name).format


def test_a_zip_and_a_format_that_the_picture_decides(
    command: Command, pictures: Path, tmp_path: Path
) -> None:
    command("remove", "in/a.jpg", "-o", "a.zip")
    command("remove", "in/a.jpg", "-o", "out", "--format", "auto", "--background", "#fff")

    assert ["color.jpg", "alpha.png"] == zipfile.ZipFile(tmp_path / "a.zip").namelist()
    assert ["a-cutout.jpg"] == names_in(tmp_path / "out")


def test_the_mask_alone_and_the_mask_with_the_cutout(command: Command, pictures: Path) -> None:
    assert 0 == command("remove", "in/a.jpg", "--only-mask").exit_code
    assert 0 == command("remove", "in/b.png", "--results", "mask,cutout").exit_code
    masks = [opened((pictures / name).read_bytes()).shape for name in ("a-mask.png", "b-mask.png")]

    assert [(60, 80), (40, 50)] == masks
    assert (pictures / "b-cutout.png").exists()


def test_a_mask_that_a_killed_run_left_without_its_cutout_is_kept(command: Command, pictures: Path) -> None:
    (pictures / "b-mask.png").write_bytes(b"mask of the killed run")
    result = command("remove", "in/b.png", "--results", "mask,cutout")

    assert 0 == result.exit_code
    assert b"mask of the killed run" == (pictures / "b-mask.png").read_bytes()
    assert (pictures / "b-cutout.png").exists()


def test_an_own_mask_and_a_background_picture_are_used(
    command: Command, pictures: Path, tmp_path: Path
) -> None:
    Path("mask.png").write_bytes(png((disc_alpha(60, 80, radius=0.2) * 255).astype(np.uint8)))
    Path("green.png").write_bytes(png(flat(60, 80, (0, 200, 0))))
    result = command(
        *("remove", "in/a.jpg", "-o", "x.png", "--mask", "mask.png"),
        *("--background-image", "green.png", "--matting", "none"),
    )
    pixels = opened((tmp_path / "x.png").read_bytes())

    assert 0 == result.exit_code
    assert "u2netp on none" in result.stderr
    assert (0, 200, 0) == tuple(pixels[2, 2, :3])
    assert pixels[30, 40, 0] > 120


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("in/a.jpg --quality 900", "--quality accepts integer from 1 to 100, and not 900"),
        ("in/a.jpg --format jpeg", "--background accepts a colour, when format=jpeg"),
        ("in/a.jpg --only-mask --crop", "--crop goes with cutouts: leave out --only-mask"),
        ("in/a.jpg --only-mask --background-image in/b.png", "--background-image goes with cutouts"),
        ("in/a.jpg --size network", "--size goes with --only-mask"),
        ("in/a.jpg --keep-names", "--keep-names needs a folder"),
        ("in/a.jpg -o a.gif", "the suffix must be one of"),
        ("in -o a.png", "several pictures need a folder"),
        ("in/*.gif", "in/*.gif: no file has such a name"),
        ("in/a.jpg --watch", "--watch watches folders"),
        ("- --results mask,cutout", "writes two files"),
        ("in --server ftp://shop", "--server ftp://shop: the address must be like https://"),
        ("in --unknown", "No such option"),
        ("in --report in/a.jpg", "--report in/a.jpg: this is the name of a picture"),
        ("in/a.jpg -o shop.zip --report shop.zip", "--report shop.zip: this is the name of a picture"),
        ("in --report in", "--report in: this is a folder"),
        ("in/a.jpg -o in --keep-names", "--keep-names needs another folder than that of in/a.jpg"),
        ("in/a.jpg --output=", "-o needs the name of a file or a folder"),
    ],
)
def test_wrong_arguments_are_a_sentence_and_exit_with_2(
    command: Command, pictures: Path, arguments: str, expected: str
) -> None:
    result = command("remove", *arguments.split())

    assert 2 == result.exit_code
    assert expected in result.stderr
    assert ["a.jpg", "b.png", "sub/c.webp"] == names_in(pictures)


def test_a_file_that_cannot_be_read_fails_alone(command: Command, pictures: Path) -> None:
    result = command("remove", "nowhere.jpg", "in/a.jpg")

    assert 1 == result.exit_code
    assert "nowhere.jpg: no such file or directory" in result.stderr
    assert (pictures / "a-cutout.png").exists()


def test_a_picture_that_the_upload_limit_excludes_is_refused_before_it_is_read(
    command: Command, pictures: Path
) -> None:
    with (pictures / "huge.jpg").open("wb") as file:
        file.truncate(2**31)  # a sparse file
    result = command("remove", "in/huge.jpg")

    assert 1 == result.exit_code
    assert "The upload is larger than the limit of 268435456 bytes." in result.stderr


def test_a_folder_without_pictures_is_no_failure(command: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    result = command("remove", "empty")

    assert 0 == result.exit_code
    assert "no pictures found" in result.stderr


def test_quiet_prints_failures_only(command: Command, pictures: Path) -> None:
    result = command("remove", "in/a.jpg", "nowhere.jpg", "--quiet")

    assert "nowhere.jpg: no such file or directory\n" == result.stderr


def test_a_memory_budget_smaller_than_the_pictures_in_flight_only_delays_them(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for number in range(3):
        (tmp_path / "in" / f"{number}.jpg").write_bytes(jpeg(photo(1500, 1500)))
    limits = {"CUTOUT_MEMORY_BUDGET": str(64 * 2**20), "CUTOUT_LIMITS__IN_FLIGHT_BYTES": str(2**22)}
    result = command("remove", "in", "-j", "3", **limits)

    assert 0 == result.exit_code, result.stderr
    assert "3 written" in result.stderr


def test_the_report_has_the_verdict_and_the_times_of_each_picture(
    command: Command, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "grey.png").write_bytes(png(flat(40, 40)))
    command("remove", "in", "--report", "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    by_source = {entry["source"]: entry for entry in report["files"]}

    assert ["ok", "ok", "no_foreground"] == [
        by_source[f"in/{name}"]["verdict"] for name in ("a.jpg", "b.png", "grey.png")
    ]
    assert 1 == report["totals"]["without_subject"]
    assert "in/a-cutout.png" == by_source["in/a.jpg"]["output"]
    assert by_source["in/a.jpg"]["steps_ms"]["infer"] > 0
    assert by_source["in/a.jpg"]["took_s"] >= 0


def test_the_result_is_what_the_pipeline_returns_for_the_same_options(
    command: Command, pictures: Path, tmp_path: Path
) -> None:
    """The flags reach the pipeline: each changes the result as the API documents it."""
    command("remove", "in/a.jpg", "-o", "crop.png", "--crop", "--margin", "5px")
    command("remove", "in/a.jpg", "-o", "alpha.png", "--channels", "alpha", "--threshold", "0.5")
    command("remove", "in/a.jpg", "-o", "small.png", "--megapixels", "0.0012")
    alpha = opened((tmp_path / "alpha.png").read_bytes())

    assert opened((tmp_path / "crop.png").read_bytes()).shape[0] < 60
    assert {0, 255} == set(np.unique(alpha))
    assert (30, 40, 4) == opened((tmp_path / "small.png").read_bytes()).shape


def test_a_model_that_does_not_exist_is_reported_once(
    command: Command, pictures: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from app.cli.commands import run

    monkeypatch.setattr("sys.argv", ["cutout", "remove", "in", "--model", "nope"])
    with pytest.raises(SystemExit) as ended:
        run()
    output = capsys.readouterr().err

    assert 1 == ended.value.code
    assert "make export MODEL=nope" in output
    assert "Traceback" not in output


def test_a_name_that_is_too_long_for_its_result_fails_alone(command: Command, pictures: Path) -> None:
    (pictures / f"{'n' * 248}.jpg").write_bytes(jpeg(PHOTO))
    (pictures / "loop.jpg").symlink_to("loop.jpg")
    result = command("remove", "in")

    assert 1 == result.exit_code
    assert "-cutout.png: file name too long" in result.stderr
    assert "in/loop.jpg: too many levels of symbolic links" in result.stderr
    assert "2 written, 2 failed" in result.stderr


def test_a_device_is_read_up_to_the_limit(command: Command, tmp_path: Path) -> None:
    result = command("remove", "/dev/zero", "-o", "out", CUTOUT_LIMITS__IN_FLIGHT_BYTES=str(2**20))

    assert 1 == result.exit_code
    assert "limit" in result.stderr


def test_the_standard_input_is_read_up_to_the_limit(command: Command) -> None:
    result = command("remove", "-", stdin=bytes(2**20 + 1), CUTOUT_LIMITS__IN_FLIGHT_BYTES=str(2**20))

    assert 1 == result.exit_code
    assert "limit" in result.stderr


def test_the_report_is_valid_json_with_a_name_that_is_not_utf8(command: Command, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    (tmp_path / name).write_bytes(b"nothing")
    command("remove", name, "--report", "report.json")
    report = json.loads((tmp_path / "report.json").read_bytes().decode("utf-8"))

    assert [name] == [entry["source"] for entry in report["files"]]


def test_control_characters_of_a_name_do_not_reach_the_terminal(command: Command, tmp_path: Path) -> None:
    (tmp_path / "red\x1b[31m\nline.jpg").write_bytes(b"nothing")
    result = command("remove", "red\x1b[31m\nline.jpg")

    assert "red\\x1b[31m\\x0aline.jpg: This is not an accepted image type" in result.stderr


def test_a_folder_in_the_place_of_a_result_is_a_failure(command: Command, pictures: Path) -> None:
    (pictures / "a-cutout.png").mkdir()
    result = command("remove", "in/a.jpg")

    assert 1 == result.exit_code
    assert "in/a-cutout.png: file exists" in result.stderr
