"""Passed: skips slow groups of tests whose files have not changed since they last passed.

    python -m tests.passed                  # print which groups are unchanged
    python -m tests.passed images           # exit with 0 if that group is unchanged
    python -m tests.passed --record images  # after the group passed: record the hash of its files

Building the images, driving a browser, starting a Ray cluster, and exporting and training networks take
minutes, and these tests depend on few files. So `make test` (`.ci/run` for the images) skips a group whose
files are the same as when it last passed, and `make test-all` skips none.
"""

import argparse
import hashlib
import json
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "tests" / "passed.json"
GROUPS = {
    "images": (
        *(
            "Dockerfile",
            ".dockerignore",
            "docker/**/*",
            "docker-compose.yml",
            ".env.example",
            "pyproject.toml",
        ),
        *("model_export/requirements*.txt", "deploy/kubernetes/base/*.yaml", "tests/images/*.py"),
    ),
    "torch": (
        *("model_export/**/*.py", "model_export/**/*.toml", "model_export/**/*.txt"),
        *("model_export/ranges/*.json", "benchmarks/three_classes.py"),
        *("tests/model_export/**/*.py", "tests/conftest.py", "tests/pictures.py", "app/weights/**/*"),
        *("app/engine/models/**/*.py", "app/onnx_import/precision/*.py", "app/pipeline/local.py"),
    ),
    "page": (
        *("app/web/page/**/*", "app/web/endpoints/playground.py", "app/web/endpoints/v1*.py"),
        *("app/options.py", "tests/journeys/test_page*.py", "tests/journeys/playground.py"),
    ),
    "ray": (
        *("pyproject.toml", "deploy/ray/**/*", "app/cli/cluster.py", "app/main.py", "app/web/drain.py"),
        *("benchmarks/ray_cluster.py", "tests/journeys/test_ray.py"),
    ),
}


def digest_of(group: str) -> str:
    """Return the SHA-256 of the names and contents of the files that a group depends on."""
    digest = hashlib.sha256()
    for pattern in GROUPS[group]:
        for path in sorted(each for each in ROOT.glob(pattern) if each.is_file() and not _is_compiled(each)):
            digest.update(f"{path.relative_to(ROOT)}\n".encode())
            digest.update(hashlib.sha256(_content(path)).digest())
    return digest.hexdigest()


def _is_compiled(path: Path) -> bool:
    return "__pycache__" in path.parts


def _content(path: Path) -> bytes:
    """Return a file's content; of ``pyproject.toml`` only what affects the installation of the service."""
    if path.name != "pyproject.toml":
        return path.read_bytes()
    tables = tomllib.loads(path.read_text())
    tables["project"]["optional-dependencies"].pop("dev")
    return json.dumps([tables["project"], tables["build-system"]], sort_keys=True).encode()


def is_unchanged(group: str) -> bool:
    """Return whether a group passed with its current files."""
    passed = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    return passed.get(group) == digest_of(group)


def main() -> int:
    """Print or record the state of the groups, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("group", nargs="?", choices=GROUPS)
    parser.add_argument("--record", choices=GROUPS, action="append", default=[])
    arguments = parser.parse_args()
    if arguments.record:
        passed = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        passed |= {group: digest_of(group) for group in arguments.record}
        RECORD.write_text(json.dumps(passed, indent=2, sort_keys=True) + "\n")
    for group in [arguments.group] if arguments.group else GROUPS:
        print(f"{group}: {'unchanged since it last passed' if is_unchanged(group) else 'must run'}")
    return 0 if arguments.group is None or is_unchanged(arguments.group) else 1


if __name__ == "__main__":
    sys.exit(main())
