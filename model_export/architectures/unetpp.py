"""U-Net++: a U-Net whose skip connections are small U-Nets, so that it contains four networks in one.

Node ``X[i][j]`` is at level ``i``, counted downwards, and column ``j``. Its inputs are all earlier nodes of
its level and the upsampled node below. Each ``X[0][j]`` has a head: trained together, the heads make the
shallower networks usable on their own, and pruning to depth L keeps exactly the nodes that head L needs. The
fast mode takes one head's map, the accurate mode the mean of all.

This module is written from the papers. The authors' own code is licensed for non-commercial use only, and
they have applied for a patent: check that before you offer this network commercially.

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


def unetpp(*, classes: int = 1) -> nn.Module:
    """Build the full depth, L4: 9.04 million parameters."""
    return UNetPlusPlus(classes=classes)


def unetpp_bn(*, classes: int = 1) -> nn.Module:
    """Build the full depth with batch normalisation."""
    return UNetPlusPlus(batch_norm=True, classes=classes)


class UNetPlusPlus(nn.Module):
    """The nested network, for one class by default.

    Args:
        depth: L, the number of levels below the first, 1 to 4.
        batch_norm: Normalise before each ReLU, as most ports do; the papers do not mention it.
        classes: Number of score maps of each head.

    Raises:
        ValueError: There are no such levels.
    """

    def __init__(self, *, depth: int = 4, batch_norm: bool = False, classes: int = 1) -> None:
        super().__init__()
        if not 1 <= depth < len(CHANNELS):
            raise ValueError(f"The depth is 1 to {len(CHANNELS) - 1}, not {depth}.")
        self.depth = depth
        self.nodes = nn.ModuleDict()
        self.enlarge = nn.ModuleDict()
        for level in range(depth + 1):
            for column in range(depth + 1 - level):
                out_ch = CHANNELS[level]
                if column:
                    in_ch = (column + 1) * out_ch
                    self.enlarge[_key(level, column)] = nn.ConvTranspose2d(
                        CHANNELS[level + 1], out_ch, 2, stride=2
                    )
                else:
                    in_ch = CHANNELS[level - 1] if level else 3
                self.nodes[_key(level, column)] = DoubleConv(in_ch, out_ch, batch_norm=batch_norm)
        self.heads = nn.ModuleList(nn.Conv2d(CHANNELS[0], classes, 1) for _ in range(depth))

    def forward(self, normalised: Tensor) -> tuple[Tensor, ...]:
        """Return the logits of every head, the deepest first.

        Args:
            normalised: (N, 3, H, W) float32 of any H and W.

        Returns:
            ``depth`` maps, (N, classes, H, W) float32.
        """
        height, width = normalised.shape[-2:]
        multiple = 2**self.depth
        padded = functional.pad(normalised, (0, -width % multiple, 0, -height % multiple))
        rows: list[list[Tensor]] = []
        for level in range(self.depth + 1):
            features = padded if level == 0 else functional.max_pool2d(rows[level - 1][0], 2)
            rows.append([self.nodes[_key(level, 0)](features)])
        for column in range(1, self.depth + 1):
            for level in range(self.depth + 1 - column):
                key = _key(level, column)
                below = self.enlarge[key](rows[level + 1][column - 1])
                rows[level].append(self.nodes[key](torch.cat((*rows[level], below), dim=1)))
        logits = [head(features) for head, features in zip(self.heads, rows[0][1:], strict=True)]
        return tuple(each[:, :, :height, :width] for each in reversed(logits))

    def pruned(self, depth: int) -> "UNetPlusPlus":
        """Return the part of the network that computes head ``depth``, with its own copy of the weights.

        Raises:
            ValueError: There is no such head.
        """
        if not 1 <= depth <= self.depth:
            raise ValueError(f"The heads are 1 to {self.depth}, not {depth}.")
        smaller = copy.deepcopy(self)
        smaller.depth = depth
        for key in [key for key in smaller.nodes if sum(map(int, key.split("_"))) > depth]:
            del smaller.nodes[key]
            if key in smaller.enlarge:
                del smaller.enlarge[key]
        smaller.heads = smaller.heads[:depth]
        return smaller


class AccurateMode(nn.Module):
    """A U-Net++ whose result is the mean of its heads' maps; the fast mode takes one head.

    Args:
        network: The network; pruned, only its own heads count.
    """

    def __init__(self, network: UNetPlusPlus) -> None:
        super().__init__()
        self.network = network

    def forward(self, normalised: Tensor) -> tuple[Tensor]:
        """Return logits whose probabilities are the mean of the heads', one (N, classes, H, W) float32."""
        logits = torch.stack(self.network(normalised))  # (heads, N, classes, H, W)
        if logits.shape[2] > 1:
            return (torch.logsumexp(torch.log_softmax(logits, dim=2), dim=0),)
        # log p - log(1 - p): the number of heads cancels, and neither sum rounds to zero.
        foreground = torch.logsumexp(functional.logsigmoid(logits), dim=0)
        background = torch.logsumexp(functional.logsigmoid(-logits), dim=0)
        return (foreground - background,)


def _key(level: int, column: int) -> str:
    return f"{level}_{column}"
