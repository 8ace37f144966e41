"""The code blocks of the README and of the pages in ``docs/``, and those that cannot run in a test."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

RELEASE = "makes a release; docs/release.md says how far it was tried"
NOT_RUN: Mapping[str, str] = {
    "make ": "sets up environments, serves until it is stopped, or measures; `make test` runs this very test",
    "cutout serve": "serves until it is stopped; tests/journeys/test_serve.py starts it",
    "cutout models add u2netp": "downloads; tests/journeys/test_wheel.py does so",
    "cutout models add network.onnx": "needs a network and pictures of yours; tests/onnx_import make both",
    "pip install": "installs from the package index; tests/journeys/test_wheel.py does so",
    "uvx ": "installs from the package index; tests/journeys/test_wheel.py does so",
    "python -m model_export": "trains or judges networks for minutes to hours, with data sets of others",
    "… train": "the options of a command above",
    "mine/images": "a list of files",
    "python -m benchmarks": "measures, which takes minutes and an idle machine",
    "docker ": "needs a Docker engine; tests/images starts the services where there is one",
    "git ": RELEASE,
    "uv ": RELEASE,
    "unzip -l": RELEASE,
    "cd /tmp": RELEASE,
    "(cd dist": RELEASE,
    "python -m pytest": "tests themselves",
    "kubectl apply": "needs a cluster",
    "kubectl create": "needs a cluster",
    "serve deploy": "needs a Ray cluster; tests/journeys/test_ray.py starts one",
}
"""How a command begins that no test of the blocks runs, and why."""


@dataclass(frozen=True)
class Block:
    """A code block: its page, the number of its first line, its language and its text."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block; a backslash joins lines."""
        joined = self.text.replace("\\\n", " ")
        return [line.strip() for line in joined.splitlines() if line.strip()]


def program_of(command: str) -> str:
    """Return a command without variables before it and without the folder of its program."""
    return re.sub(r"^(?:[A-Z][A-Z0-9_]*=\S* )*(?:\.venv(?:-export)?/bin/)?", "", command)


def reason_not_to_run(command: str) -> str | None:
    """Return why no test runs a command, or ``None`` if one does."""
    program = program_of(command)
    return next((reason for start, reason in NOT_RUN.items() if program.startswith(start)), None)


def blocks() -> list[Block]:
    """Return all code blocks, fenced or indented."""
    return [block for page in PAGES for block in _blocks_of(page)]


def _blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page. An indented one is a shell's, or TOML if it starts with a table."""
    name = str(page.relative_to(ROOT))
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = re.match(r"( *)```(\w*)$", lines[number])
        if fence is not None:
            end = next((i for i in range(number + 1, len(lines)) if lines[i].strip() == "```"), None)
            if end is None:
                raise ValueError(f"{name}:{number + 1}: the block does not end.")
            text = [line.removeprefix(fence[1]) for line in lines[number + 1 : end]]
            yield Block(name, number + 2, fence[2] or "sh", "\n".join(text))
            number = end + 1
        elif lines[number].lstrip().startswith("```"):
            raise ValueError(f"{name}:{number + 1}: a block begins with ``` and at most one word.")
        elif lines[number].startswith("    ") and (number == 0 or not lines[number - 1].strip()):
            end = number
            while end < len(lines) and lines[end].startswith("    "):
                end += 1
            text = [line.removeprefix("    ") for line in lines[number:end]]
            yield Block(name, number + 1, "toml" if text[0].startswith("[") else "sh", "\n".join(text))
            number = end
        else:
            number += 1
