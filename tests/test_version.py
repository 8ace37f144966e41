import tomllib
from importlib.metadata import version
from pathlib import Path

from app import __version__

ROOT = Path(__file__).resolve().parents[1]


def test_the_package_and_the_program_have_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert project["version"] == __version__ == version("cutout-server")
