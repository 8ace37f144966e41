import subprocess
from pathlib import Path

import pytest

from tests.retired_words import ROOT, find


def plant(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")


@pytest.mark.process
@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("class KeyRing:", "KeyRing"),
        ("MOST_BYTES = 3", "MOST_BYTES"),
        ("    most_lines: int = 200", "most_lines"),
        ("def test_nobody_waits() -> None:", "nobody"),
        ("# Whoever sends this is refused.", "Whoever"),
        ("# A value that is to be sent.", "is to be"),
        ("# See app/web/departure.py.", "departure"),
    ],
)
def test_a_retired_word_is_found_with_its_line(tmp_path: Path, line: str, word: str) -> None:
    plant(tmp_path, "app/part.py", f'"""Part: a fine module."""\n\n{line}\n')

    assert f"app/part.py:3: {word}: write " in "\n".join(find(tmp_path))


@pytest.mark.process
@pytest.mark.parametrize(
    "line", ["keys_ring = almost_lines", "def carry_out() -> None:", "AdmittedUpload(mostly=1)", "--answer"]
)
def test_other_words_that_contain_a_retired_one_are_not_found(tmp_path: Path, line: str) -> None:
    plant(tmp_path, "app/part.py", line)

    assert list(find(tmp_path)) == []


@pytest.mark.process
def test_excepted_files_may_use_their_word_and_no_other(tmp_path: Path) -> None:
    plant(tmp_path, "CHANGELOG.md", "`name-reused` has another name.\nNobody uses it.\n")

    assert [line.split(": write")[0] for line in find(tmp_path)] == ["CHANGELOG.md:2: Nobody"]


@pytest.mark.process
def test_in_a_repository_only_tracked_files_are_searched(tmp_path: Path) -> None:
    plant(tmp_path, "app/tracked.py", "KeyRing")
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "app"], cwd=tmp_path, check=True)
    plant(tmp_path, "app/untracked.py", "KeyRing")

    assert [line.split(":")[0] for line in find(tmp_path)] == ["app/tracked.py"]


@pytest.mark.process
def test_the_project_has_no_retired_words() -> None:
    assert list(find(ROOT)) == []
