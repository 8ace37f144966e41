"""Served shape: what of a trained network is served, and how: pruned, with all heads, larger, or in tiles."""

from dataclasses import dataclass

from torch import nn

from model_export.architectures.unet import TiledUNet, ValidUNet
from model_export.architectures.unetpp import AccurateMode, UNetPlusPlus
from model_export.errors import CommandFailed


@dataclass(frozen=True, slots=True)
class ServedShape:
    """How a trained network is served; the defaults change nothing.

    ``depth`` is the head that a U-Net++ is pruned to, and ``is_accurate`` serves the mean of its heads.
    ``size_px`` is the side of the input, and ``tile_px`` that of the tiles of a ``unet_valid``.
    """

    depth: int | None = None
    is_accurate: bool = False
    size_px: int | None = None
    tile_px: int | None = None

    @property
    def description(self) -> str:
        """The shape in words, to be added to the name of the architecture."""
        parts = (
            f"pruned to L{self.depth}" if self.depth is not None else "",
            "mean of the heads" if self.is_accurate else "",
            f"in tiles of {self.tile_px} px" if self.tile_px is not None else "",
        )
        return "".join(f", {part}" for part in parts if part)

    def applied(self, network: nn.Module, architecture: str) -> nn.Module:
        """Return the network to serve, in evaluation mode.

        Args:
            network: As trained.
            architecture: Its name, for messages.

        Raises:
            CommandFailed: The network does not have this shape.
        """
        if self.depth is not None:
            if not isinstance(network, UNetPlusPlus) or not 1 <= self.depth <= network.depth:
                raise CommandFailed(f"{architecture} has no head {self.depth} to prune it to.")
            network = network.pruned(self.depth)
        if self.is_accurate:
            if not isinstance(network, UNetPlusPlus):
                raise CommandFailed(f"{architecture} has no accurate mode; a U-Net++ has.")
            network = AccurateMode(network)
        if self.tile_px is not None:
            network = _tiled(network, architecture, self.tile_px)
        return network.eval()


AS_TRAINED = ServedShape()


def _tiled(network: nn.Module, architecture: str, tile_px: int) -> nn.Module:
    if not isinstance(network, ValidUNet):
        raise CommandFailed(
            f"{architecture} pads its features, so tiles would differ from the whole; unet_valid has tiles."
        )
    try:
        return TiledUNet(network, tile_px)
    except ValueError as error:
        raise CommandFailed(f"--tile: {error}") from error
