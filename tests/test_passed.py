import shutil
from pathlib import Path

import pytest

from tests import passed


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files that the groups depend on, recorded as passed."""
    for group in passed.GROUPS.values():
        for pattern in group:
            for path in (each for each in passed.ROOT.glob(pattern) if each.is_file()):
                target = tmp_path / path.relative_to(passed.ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
    monkeypatch.setattr(passed, "ROOT", tmp_path)
    monkeypatch.setattr(passed, "RECORD", tmp_path / "passed.json")
    monkeypatch.setattr("sys.argv", ["passed", *(f"--record={group}" for group in passed.GROUPS)])
    assert passed.main() == 0
    return tmp_path


@pytest.mark.parametrize("group", passed.GROUPS)
def test_every_pattern_matches_a_file(group: str) -> None:
    assert all(any(path.is_file() for path in passed.ROOT.glob(each)) for each in passed.GROUPS[group])


@pytest.mark.parametrize(
    ("changed", "groups"),
    [
        ("Dockerfile", {"images"}),
        ("docker/locks/cpu.txt", {"images"}),
        ("app/cli/cluster.py", {"ray"}),
        ("app/web/page/style/base.css", {"page"}),
        ("docker/a-new-file", {"images"}),
        ("model_export/requirements.txt", {"images", "torch"}),
        ("app/weights/fetch.py", {"torch"}),
    ],
)
def test_a_group_must_run_when_one_of_its_files_changes(copy: Path, changed: str, groups: set[str]) -> None:
    with (copy / changed).open("a") as file:
        file.write("\n")

    assert {group for group in passed.GROUPS if not passed.is_unchanged(group)} == groups


def test_project_metadata_counts_and_tool_settings_do_not(copy: Path) -> None:
    file = copy / "pyproject.toml"
    text = file.read_text()
    file.write_text(text.replace("line-length = ", "line-length = 1").replace("dev = [", 'dev = ["x",'))
    linted = {group for group in passed.GROUPS if not passed.is_unchanged(group)}
    file.write_text(text.replace("[project]\n", '[project]\nurls = {x = "https://x.example"}\n'))

    assert linted == set()
    assert {group for group in passed.GROUPS if not passed.is_unchanged(group)} == {"images", "ray"}


def test_without_a_record_all_groups_must_run(copy: Path) -> None:
    passed.RECORD.unlink()

    assert not any(passed.is_unchanged(group) for group in passed.GROUPS)
