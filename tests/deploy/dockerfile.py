"""The stages of a Dockerfile and what they build on, read without an engine."""

import re
from dataclasses import dataclass, field
from pathlib import Path


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
