"""Preprocessing: how a network takes pictures and what its output means, as its authors define it."""

import math
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

Order = Literal["rgb", "bgr"]
OWN_MAXIMUM, OWN_RANGE = "max", "picture"
"""Scales that depend on the picture: its own maximum, or its own darkest and brightest values."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB, of pictures in [0, 1]
IMAGENET_STD = (0.229, 0.224, 0.225)
NO_ACTIVATION, SIGMOID = "none", "sigmoid"
_SOFTMAX = re.compile(r"softmax:(\d{1,3})")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What happens between a picture of 8 bits and a saliency map around a network.

    A value x becomes ``(x / scale - mean) / std``.

    Attributes:
        scale: ``max`` divides by the picture's own maximum, ``picture`` stretches it from its darkest value
            to its brightest, and a number divides by it.
        mean: Of the three channels, in the network's order.
        std: Likewise.
        order: The order of the network's channels.
        activation: What follows the network's output: ``none``, ``sigmoid``, or ``softmax:K``, whose
            channel K is the foreground.
        output: The number of the output that is served.
        is_inverted: Whether the output is the background's.
    """

    scale: str = "255"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    order: Order = "rgb"
    activation: str = NO_ACTIVATION
    output: int = 0
    is_inverted: bool = False

    def __post_init__(self) -> None:
        """Check the values; ``ValueError`` has a message for people."""
        if self.scale not in (OWN_MAXIMUM, OWN_RANGE) and not 0 < self.divisor < math.inf:
            raise ValueError(f"the scale is max, picture or a number above 0, not {self.scale!r}")
        if not all(0 < value < math.inf for value in self.std):
            raise ValueError("the standard deviations must be above 0")
        if not all(math.isfinite(value) for value in self.mean):
            raise ValueError("the means must be finite numbers")
        if self.activation not in (NO_ACTIVATION, SIGMOID) and self.channel is None:
            raise ValueError(f"the activation is none, sigmoid or softmax:K, not {self.activation!r}")

    @property
    def divisor(self) -> float:
        """The scale as a number; NaN if it depends on the picture or is none."""
        try:
            return float(self.scale)
        except ValueError:
            return float("nan")

    @property
    def channel(self) -> int | None:
        """The foreground's channel of a softmax; None without one."""
        match = _SOFTMAX.fullmatch(self.activation)
        return int(match[1]) if match else None

    def as_members(self) -> dict[str, Any]:  # Any: JSON
        """Return the values under their names in a manifest."""
        return asdict(self)
