"""Ranges: which values each tensor of a network takes on real pictures, as JSON in the repository.

An int8 graph is made from the float32 graph and these numbers alone, so an export needs no pictures. The
figures of the graphs that were judged are kept with them, each with the digest of the graph it belongs to.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from model_export.errors import CommandFailed

RANGES_FOLDER = Path(__file__).parent / "ranges"


class RangesInvalid(CommandFailed):
    """A file of ranges is missing, damaged, or belongs to another network."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The figures of one graph on a set with known truth.

    ``graph`` is the digest of the judged graph, ``data`` the name of the set; ``quality`` has the figures of
    ``Variant.quality``, ``halves`` the same of its even and odd pictures.
    """

    graph: str
    data: str
    pictures: int
    quality: dict[str, float]
    halves: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ranges:
    """What a calibration found, and the figures of the graphs made from it.

    ``activations`` maps a layer, or a tensor that no layer makes, to the smallest and largest value that its
    8 bits represent; ``means`` maps a layer to the mean of each channel that it reads.
    """

    model: str
    data: str
    pictures: int
    method: str
    activations: dict[str, tuple[float, float]]
    means: dict[str, list[float]]
    judged: dict[str, Judgement] = field(default_factory=dict)


def ranges_path(name: str, folder: Path = RANGES_FOLDER) -> Path:
    """Return where the ranges of a model are."""
    return folder / f"{name}.json"


def read_ranges(path: Path) -> Ranges:
    """Read a file of ranges.

    Raises:
        RangesInvalid: It is missing or not such a file; the message names the command that makes one.
    """
    try:
        members = json.loads(path.read_text(encoding="utf-8"))
        if unknown := set(members) - {each.name for each in fields(Ranges)}:
            raise RangesInvalid(f"{path}: unknown members {sorted(unknown)}.")
        activations = {
            name: (float(low), float(high)) for name, (low, high) in members["activations"].items()
        }
        means = {name: [float(each) for each in values] for name, values in members["means"].items()}
        judged = {name: Judgement(**stored) for name, stored in members.get("judged", {}).items()}
        return Ranges(**{**members, "activations": activations, "means": means, "judged": judged})
    except FileNotFoundError as error:
        raise RangesInvalid(
            f"{path} is missing; make it from a folder of pictures: "
            f"python -m model_export calibrate {path.stem} --data DIR"
        ) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise RangesInvalid(f"{path} is not a file of ranges: {error}") from error


def write_ranges(ranges: Ranges, path: Path) -> Path:
    """Write ranges as JSON, a line for each tensor, and return the path."""
    members = asdict(ranges)
    blocks = [f'  "{name}": {json.dumps(members[name])}' for name in ("model", "data", "pictures", "method")]
    blocks += [_lines(name, members[name]) for name in ("activations", "means", "judged")]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n", encoding="utf-8")
    return path


def _lines(name: str, members: Mapping[str, object]) -> str:
    if not members:
        return f'  "{name}": {{}}'
    lines = ",\n".join(f'    "{each}": {json.dumps(member)}' for each, member in members.items())
    return f'  "{name}": {{\n{lines}\n  }}'
