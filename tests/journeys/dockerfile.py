"""A small replayer of Dockerfiles: the steps of every stage, in a clean directory, without an engine.

It supports the instructions of our Dockerfile (FROM, ARG, ENV, WORKDIR, COPY, RUN, USER, HEALTHCHECK,
ENTRYPOINT) and refuses others. Like Docker it runs only the stages that the target needs. Absolute paths of
the image (``/opt``, ``/srv``, ``/build``) are mapped to the directory; the base image is an installed Python.
"""

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

ROOTS = ("/opt", "/srv", "/build")


@dataclass
class Stage:
    """The state of a stage."""

    root: Path
    folder: str = "/"
    arguments: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    user: str = "root"
    entrypoint: list[str] = field(default_factory=list)
    healthcheck: list[str] = field(default_factory=list)

    def path_of(self, path: str) -> Path:
        """Map a path of the image to this machine."""
        return self.root / str(Path(self.folder) / path).lstrip("/")


class Replay:
    """Runs the steps of a Dockerfile for ``target`` below ``root``; its folder is the build context."""

    def __init__(
        self, dockerfile: Path, target: str, *, root: Path, python: Path, arguments: dict[str, str]
    ) -> None:
        self.context = dockerfile.parent
        self._root = root
        self._python = python
        self._given = arguments
        self.stages: dict[str, Stage] = {}
        self.skipped: list[str] = []
        recipes = stages_of(dockerfile)
        needed = closure(recipes, target)
        for name in (name for name in recipes if name in needed):
            self._begin(name, recipes[name].base)
            for verb, rest in recipes[name].steps:
                self._run_step(verb, rest)

    def _begin(self, name: str, base: str) -> None:
        """Start a stage from the result of ``base``, or from a directory with only Python."""
        root = self._root / name
        if base in self.stages:
            shutil.copytree(self.stages[base].root, root, symlinks=True)
            self.stage = copy.deepcopy(self.stages[base])
            self.stage.root = root
        else:
            self.stage = Stage(root)
            self._prepare_base(self.stage)
        self.stages[name] = self.stage

    def _run_step(self, verb: str, rest: str) -> None:
        {
            "ARG": self._arg,
            "ENV": self._env,
            "WORKDIR": self._workdir,
            "COPY": self._copy,
            "RUN": self._run,
        }.get(verb, lambda text: self._declare(verb, text))(rest)

    def _prepare_base(self, stage: Stage) -> None:
        tools = stage.root / "usr-bin"
        tools.mkdir(parents=True)
        (tools / "python").symlink_to(self._python)
        for folder in ROOTS:
            (stage.root / folder.lstrip("/")).mkdir()

    def _arg(self, text: str) -> None:
        name, _, default = text.partition("=")
        self.stage.arguments[name] = self._given.get(name, default)

    def _env(self, text: str) -> None:
        for pair in shlex.split(text):
            name, _, value = pair.partition("=")
            self.stage.environment[name] = value.replace("$PATH", "").rstrip(":") if name == "PATH" else value

    def _workdir(self, text: str) -> None:
        self.stage.folder = text
        self.stage.path_of(".").mkdir(parents=True, exist_ok=True)

    def _copy(self, text: str) -> None:
        *sources, target = text.split()
        origin = self.context
        if sources[0].startswith("--from="):
            origin = self.stages[sources.pop(0).removeprefix("--from=")].root
        for source in sources:
            found = origin / source.lstrip("/")
            destination = self.stage.path_of(target) / (found.name if target.endswith("/") else "")
            destination.parent.mkdir(parents=True, exist_ok=True)
            if found.is_dir():
                ignore = shutil.ignore_patterns("__pycache__")
                shutil.copytree(found, destination, symlinks=True, dirs_exist_ok=True, ignore=ignore)
            else:
                shutil.copy2(found, destination)

    def _run(self, text: str) -> None:
        if text.startswith("useradd"):
            self.skipped.append(text)
            return
        subprocess.run(
            ["sh", "-ec", self.mapped(text)],
            cwd=self.stage.path_of("."),
            env=self.process_environment(self.stage),
            check=True,
        )

    def _declare(self, verb: str, text: str) -> None:
        if verb == "USER":
            self.stage.user = text
        elif verb == "ENTRYPOINT":
            self.stage.entrypoint = [self.mapped(word) for word in json.loads(text)]
        elif verb == "HEALTHCHECK":
            self.stage.healthcheck = [self.mapped(word) for word in json.loads(text.partition(" CMD ")[2])]
        elif verb not in ("LABEL", "EXPOSE"):
            raise NotImplementedError(f"The replayer does not support {verb}.")

    def mapped(self, text: str) -> str:
        """Map the image's paths in ``text`` to this machine."""
        pattern = rf"(?<![\w.])(?:{'|'.join(ROOTS)})(?=/|\b)"
        return re.sub(pattern, lambda match: f"{self.stage.root}{match.group()}", text)

    def process_environment(self, stage: Stage) -> dict[str, str]:
        """Return the environment of a process in ``stage``."""
        kept = {
            name: value for name, value in os.environ.items() if name.startswith(("PIP_", "LANG", "SSL_"))
        }
        # The image has no pip cache; a replay may use the cache of this machine.
        own = {k: v for k, v in {**stage.arguments, **stage.environment}.items() if k != "PIP_NO_CACHE_DIR"}
        mapped = {name: self.mapped(value) for name, value in own.items()}
        path = ":".join(filter(None, (mapped.get("PATH"), str(stage.root / "usr-bin"), "/usr/bin:/bin")))
        return {**kept, "HOME": str(stage.root), **mapped, "PATH": path}


@dataclass
class Recipe:
    """A stage in the Dockerfile."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)


def stages_of(dockerfile: Path) -> dict[str, Recipe]:
    """Parse the stages of a Dockerfile, by name and in order."""
    lines = dockerfile.read_text(encoding="utf-8").splitlines()
    kept = "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("#"))
    found: dict[str, Recipe] = {}
    for line in re.sub(r"\\\n\s*", " ", kept).splitlines():
        verb, rest = line.split(maxsplit=1)
        if verb == "FROM":
            base, name = rest.split(" AS ")
            found[name] = Recipe(base)
        elif found:  # ARG before the first FROM names the base image
            list(found.values())[-1].steps.append((verb, rest))
    return found


def closure(recipes: dict[str, Recipe], target: str) -> set[str]:
    """Return the stages that ``target`` builds on or copies from, itself included."""
    recipe = recipes[target]
    sources = {recipe.base} | {
        rest.split()[0].removeprefix("--from=")
        for verb, rest in recipe.steps
        if verb == "COPY" and rest.startswith("--from=")
    }
    return {target}.union(*(closure(recipes, name) for name in sources if name in recipes))
