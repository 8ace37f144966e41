"""U-Net++: a U-Net whose skips are themselves small U-Nets, so that it holds four networks in one.

Node ``X[i][j]`` lies ``i`` levels down and has seen ``j`` levels up. Its input is every earlier node of its
level and the enlarged node below. Each ``X[0][j]`` has a head: trained together they make the shallower
networks usable by themselves, and pruning to depth L leaves exactly what head L was computed from.

Written from the papers. The authors' own code may be used for non-commercial purposes alone, and they have
applied for a patent: whoever offers this network commercially had better look into that.

References:
    Zhou et al., "UNet++: A Nested U-Net Architecture for Medical Image Segmentation", DLMIA 2018,
    arXiv:1807.10165; "UNet++: Redesigning Skip Connections", TMI 2020, arXiv:1912.05074.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from model_export.architectures.layers import DoubleConv

CHANNELS = (32, 64, 128, 256, 512)


def unetpp() -> nn.Module:
    """Build the full depth, L4: 9.04 million parameters."""
    return UNetPlusPlus()


def unetpp_bn() -> nn.Module:
    """Build the full depth with batch normalisation."""
    return UNetPlusPlus(batch_norm=True)


class UNetPlusPlus(nn.Module):
    """The nested network, over one class.

    Args:
        depth: L, how far down it goes, 1 to 4.
        batch_norm: Normalise before each ReLU, as most ports do and the papers do not say.
    """

    def __init__(self, *, depth: int = 4, batch_norm: bool = False) -> None:
        super().__init__()
        self.depth = depth
        self.nodes = nn.ModuleDict()
        self.enlarge = nn.ModuleDict()
        for level in range(depth + 1):
            for place in range(depth + 1 - level):
                out_ch = CHANNELS[level]
                if place:
                    in_ch = (place + 1) * out_ch
                    self.enlarge[_name(level, place)] = nn.ConvTranspose2d(
                        CHANNELS[level + 1], out_ch, 2, stride=2
                    )
                else:
                    in_ch = CHANNELS[level - 1] if level else 3
                self.nodes[_name(level, place)] = DoubleConv(in_ch, out_ch, batch_norm=batch_norm)
        self.heads = nn.ModuleList(nn.Conv2d(CHANNELS[0], 1, 1) for _ in range(depth))

    def forward(self, normalised: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of every head, the deepest first.

        Args:
            normalised: (N, 3, H, W) float32 of any H and W.

        Returns:
            ``depth`` maps, (N, 1, H, W) float32.
        """
        height, width = normalised.shape[-2:]
        step = 2**self.depth
        padded = functional.pad(normalised, (0, -width % step, 0, -height % step))
        rows: list[list[Tensor]] = []
        for level in range(self.depth + 1):
            features = padded if level == 0 else functional.max_pool2d(rows[level - 1][0], 2)
            rows.append([self.nodes[_name(level, 0)](features)])
        for place in range(1, self.depth + 1):
            for level in range(self.depth + 1 - place):
                name = _name(level, place)
                below = self.enlarge[name](rows[level + 1][place - 1])
                rows[level].append(self.nodes[name](torch.cat((*rows[level], below), dim=1)))
        logits = [head(features) for head, features in zip(self.heads, rows[0][1:], strict=True)]
        return tuple(each[:, :, :height, :width] for each in reversed(logits))

    def pruned(self, depth: int) -> "UNetPlusPlus":
        """Return the network that head ``depth`` is computed by, with its own copy of the weights.

        Raises:
            ValueError: There is no such head.
        """
        if not 1 <= depth <= self.depth:
            raise ValueError(f"The heads are 1 to {self.depth}, not {depth}.")
        smaller = copy.deepcopy(self)
        smaller.depth = depth
        for name in [name for name in smaller.nodes if sum(map(int, name.split("_"))) > depth]:
            del smaller.nodes[name]
            if name in smaller.enlarge:
                del smaller.enlarge[name]
        smaller.heads = smaller.heads[:depth]
        return smaller


def _name(level: int, place: int) -> str:
    return f"{level}_{place}"
