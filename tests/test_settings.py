import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, UnknownSetting, describe, read_settings

PAGE = Path(__file__).resolve().parents[1] / "docs/settings.md"


def test_an_unknown_setting_stops_the_start() -> None:
    with pytest.raises(UnknownSetting, match="CUTOUT_LIMITS__UPLOAD_BYTE"):
        read_settings({"CUTOUT_LIMITS__UPLOAD_BYTE": "1"})


def test_a_nested_setting_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTOUT_LIMITS__IN_FLIGHT_REQUESTS", "3")
    monkeypatch.setenv("CUTOUT_MODELS", "u2net, u2netp")
    settings = read_settings()

    assert settings.limits.in_flight_requests == 3
    assert settings.limits.upload_bytes == 20 * 2**20
    assert settings.models == ("u2net", "u2netp")


@pytest.mark.parametrize(
    ("held", "served"),
    [
        (["u2netp"], ("u2netp",)),
        (["u2net", "u2netp"], ("u2net",)),
        (["modnet", "u2netp"], ("u2net",)),
        ([], ("u2net",)),
    ],
)
def test_a_single_model_of_the_folder_is_served_without_being_named(
    tmp_path: Path, held: list[str], served: tuple[str, ...]
) -> None:
    (tmp_path / "weights").mkdir()  # no model
    for name in held:
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")

    assert served == read_settings(models_dir=tmp_path).models


@pytest.mark.parametrize("text", ["u2netp\nmodnet\n", "u2netp modnet"])
def test_the_models_that_the_folder_lists_are_served_in_their_order(tmp_path: Path, text: str) -> None:
    for name in ("modnet", "u2net", "u2netp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text("{}")
    (tmp_path / "served.txt").write_text(text)

    assert ("u2netp", "modnet") == read_settings(models_dir=tmp_path).models
    assert ("u2net",) == read_settings(models_dir=tmp_path, models=("u2net",)).models


def test_an_empty_list_of_the_folder_names_no_model_and_a_wrong_name_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "served.txt").write_text("\n")

    assert ("u2net",) == read_settings(models_dir=tmp_path).models
    (tmp_path / "served.txt").write_text("../u2net")
    with pytest.raises(ValidationError):
        read_settings(models_dir=tmp_path)


def test_a_named_model_is_served_instead_of_the_single_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "u2netp").mkdir()
    (tmp_path / "u2netp/manifest.json").write_text("{}")
    monkeypatch.setenv("CUTOUT_MODELS", "modnet")

    assert ("modnet",) == read_settings(models_dir=tmp_path).models
    assert ("u2net",) == read_settings(models_dir=tmp_path, models=("u2net",)).models


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("CUTOUT_DEVICE", "gpu"),
        ("CUTOUT_WEB__PORT", "70000"),
        ("CUTOUT_MODELS", "../etc/passwd"),
        ("CUTOUT_LIMITS__DEADLINE_S", "0"),
        ("CUTOUT_ENGINE__MAX_BATCH", "0"),
    ],
)
def test_a_value_out_of_bounds_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    with pytest.raises(ValidationError):
        read_settings()


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError):
        Settings().device = "cpu"  # type: ignore[misc] # the assignment must fail


def test_every_setting_has_a_description() -> None:
    assert all(description for _, _, description in describe())


def test_the_page_of_settings_matches_the_settings() -> None:
    rows = re.findall(
        r"^\| `(CUTOUT_\w+)` \| (.*?) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    )

    assert [(name, f"`{default}`", description) for name, default, description in describe()] == rows
