"""Islands: the layers of each network that an int8 graph keeps in float32, and why.

``python -m model_export sensitivity NAME --data DIR`` prints what each one is worth.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model_export.errors import CommandFailed


@dataclass(frozen=True, slots=True)
class Island:
    """Layers that stay in float32 together, by the beginnings of their names, and the reason."""

    layers: tuple[str, ...]
    reason: str


HEAD = Island(
    ("sides.", "fuse"),
    "The side outputs and the fused map are logits; a step of 8 bits near 0 is seen in the map. "
    "They are 0.4 % of the work.",
)

ISLANDS: Mapping[str, tuple[Island, ...]] = {
    "lite": (
        Island(
            ("encoder.stem", "encoder.blocks.0.", "encoder.blocks.1."),
            "The first layers: their depthwise convolutions have ranges of very different sizes per channel, "
            "and every later layer reads what they lose. They are 6 % of the work.",
        ),
        Island(("decoder.details.2",), "The map is logits; see HEAD."),
    ),
    "u2net": (HEAD,),
    "u2netp": (
        HEAD,
        Island(
            ("decoder.3.decoder.3", "decoder.3.decoder.4"),
            "The last layer but one of De_2 reaches 228 where its neighbours reach 6 to 26, and the last "
            "layer cancels it: one scale for both has no steps left for the small values.",
        ),
    ),
}


def island_layers(model: str, layers: Iterable[str]) -> list[str]:
    """Return the layers of a model that stay in float32.

    Raises:
        CommandFailed: The model has no entry in the table.
    """
    if model not in ISLANDS:
        raise CommandFailed(f"model_export/islands.py has no entry for {model}.")
    starts = tuple(start for island in ISLANDS[model] for start in island.layers)
    return [name for name in layers if name.startswith(starts)]
