"""Architectures: the contract of all networks, the figures of the papers, and tests of single networks."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from model_export.architectures import ARCHITECTURES, OptionInvalid, build_network
from model_export.architectures.fcn import FCN
from model_export.architectures.stdc import ShortTermDenseConcat, STDCSeg
from model_export.architectures.unetpp import AccurateMode, UNetPlusPlus
from model_export.cost import count_macs, count_parameters
from model_export.errors import CommandFailed
from model_export.export import export_served
from model_export.parity import measure_trained_parity
from model_export.pictures import synthetic_pictures
from model_export.served_shape import ServedShape
from tests.model_export.runs import on_meta_device

pytestmark = pytest.mark.torch


class Contract:
    """The contract of every network; a subclass defines the network and the sizes of the test pictures."""

    build: Callable[[], nn.Module]
    maps = (1, 1)  # number of maps in evaluation and in training
    size_px = 64
    odd = (45, 71)
    is_exported_by_another_class = False  # with another size of the same network

    def network(self) -> nn.Module:
        torch.manual_seed(1)
        network = type(self).build().eval()
        for layer in network.modules():  # statistics other than 0 and 1, as in a trained network
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
        return network

    def pictures(self, count: int = 2, size: tuple[int, int] | None = None) -> Tensor:
        return torch.randn(count, 3, *(size or (self.size_px, self.size_px)), generator=torch.manual_seed(2))

    def test_maps_have_the_size_of_the_picture_even_if_odd(self) -> None:
        network = self.network()
        for size in ((self.size_px, self.size_px), self.odd):
            with torch.inference_mode():
                maps = network(self.pictures(1, size))
            assert [tuple(each.shape) for each in maps] == [(1, 1, *size)] * self.maps[0]
            assert all(each.isfinite().all() for each in maps)

    def test_every_trainable_parameter_gets_a_gradient(self) -> None:
        network = self.network().train()
        maps = network(self.pictures())
        assert len(maps) == self.maps[1]
        sum(each.square().mean() for each in maps).backward()

        assert [name for name, each in network.named_parameters() if each.grad is None] == []

    def test_output_is_the_same_after_saving_and_loading(self, tmp_path: Path) -> None:
        network, again = self.network(), type(self).build().eval()
        save_file({name: each.contiguous() for name, each in network.state_dict().items()}, tmp_path / "w")
        again.load_state_dict(load_file(tmp_path / "w"))

        with torch.inference_mode():
            assert torch.equal(network(self.pictures())[0], again(self.pictures())[0])

    def test_a_batch_equals_its_pictures_run_one_by_one(self) -> None:
        network, pictures = self.network(), self.pictures(3)
        with torch.inference_mode():
            together = network(pictures)[0]
            alone = torch.cat([network(picture[None])[0] for picture in pictures])

        # Kernels for other batch sizes add in another order: on some machines logits differ by over 1e-5.
        assert (together - alone).abs().max() <= 1e-4 * alone.abs().max()

    def test_the_exported_graph_equals_pytorch(self) -> None:
        if self.is_exported_by_another_class:
            pytest.skip("another size of the same network is exported")
        network = self.network()
        served = export_served(network, graph_name="tiny", size_px=self.size_px)
        figures = measure_trained_parity(network, served=served, pictures=synthetic_pictures(self.size_px))

        assert max(figures.values()) <= 1e-4


class TestU2NetP(Contract):
    is_exported_by_another_class = True
    build = staticmethod(ARCHITECTURES["u2netp"])
    maps = (7, 7)


class TestFCN8s(Contract):
    """Uses narrow classifier layers: 4096 channels would take half a gigabyte."""

    build = staticmethod(lambda: FCN(8, width=32))


class TestFCN16s(Contract):
    is_exported_by_another_class = True
    build = staticmethod(lambda: FCN(16, width=32))


class TestFCN32s(Contract):
    is_exported_by_another_class = True
    build = staticmethod(lambda: FCN(32, width=32, batch_norm=True))


class TestUNet(Contract):
    is_exported_by_another_class = True  # by the valid U-Net, with the same layers
    build = staticmethod(ARCHITECTURES["unet_bn"])
    size_px = 32


class TestValidUNet(Contract):
    build = staticmethod(ARCHITECTURES["unet_valid"])
    size_px, odd = 112, (109, 131)


class TestUNetPlusPlus(Contract):
    build = staticmethod(ARCHITECTURES["unetpp"])
    maps = (4, 4)


class TestUNetPlusPlusL2(Contract):
    is_exported_by_another_class = True
    build = staticmethod(lambda: UNetPlusPlus(depth=2, batch_norm=True))
    maps = (2, 2)


class TestSTDC1(Contract):
    build = staticmethod(ARCHITECTURES["stdc1"])
    maps = (1, 4)


class TestSTDC2(Contract):
    is_exported_by_another_class = True
    build = staticmethod(ARCHITECTURES["stdc2"])
    maps = (1, 4)


class TestLite(Contract):
    build = staticmethod(ARCHITECTURES["lite"])
    maps = (1, 5)


@pytest.mark.parametrize(
    ("build", "millions", "giga", "size_px"),
    [
        (ARCHITECTURES["u2net"], 44.01, 58.60, 320),
        (ARCHITECTURES["u2net"], 44.01, 47.46, 288),
        (ARCHITECTURES["u2netp"], 1.13, 19.76, 320),
        (ARCHITECTURES["u2netp"], 1.13, 16.00, 288),
        (ARCHITECTURES["fcn8s"], 134.27, 97.2, 320),
        (ARCHITECTURES["unet"], 31.03, 75.3, 320),
        (ARCHITECTURES["unetpp"], 9.04, 46.5, 320),
        (ARCHITECTURES["unetpp_bn"], 9.05, 46.5, 320),
        (ARCHITECTURES["unetpp_l1"], 0.10, 5.5, 320),
        (ARCHITECTURES["unetpp_l2"], 0.51, 13.9, 320),
        (ARCHITECTURES["unetpp_l3"], 2.21, 27.3, 320),
        (lambda: STDCSeg((2, 2, 2), classes=19), 8.28, 3.29, 320),
        (lambda: STDCSeg((4, 5, 3), classes=19), 12.31, 4.58, 320),
        (ARCHITECTURES["lite"], 3.32, 1.75, 320),
    ],
)
def test_parameters_and_multiplications_match_the_tables(
    build: Callable[[], nn.Module], millions: float, giga: float, size_px: int
) -> None:
    network = on_meta_device(build)

    assert count_parameters(network) / 1e6 == pytest.approx(millions, abs=0.0051)
    assert count_macs(network, size_px) / 1e9 == pytest.approx(giga, abs=0.06)


def test_multiplications_match_a_count_by_hand() -> None:
    network = on_meta_device(lambda: nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 2, 1)))

    assert count_macs(network, 10) == 100 * (3 * 9 * 8 + 8 * 2)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_u_net_plus_plus_pruned_to_l_equals_head_l_of_the_full_network(depth: int) -> None:
    torch.manual_seed(4)
    network = UNetPlusPlus(batch_norm=True).eval()
    picture = torch.randn(2, 3, 50, 38)
    pruned = network.pruned(depth)
    with torch.inference_mode():
        whole = network(functional.pad(picture, (0, 10, 0, 14)))  # to 64 and 48, as the full depth pads
        head = whole[4 - depth]
        result = pruned(functional.pad(picture, (0, 10, 0, 14)))[0]

    assert torch.equal(result, head)
    assert count_parameters(pruned) == count_parameters(UNetPlusPlus(depth=depth, batch_norm=True))
    with pytest.raises(ValueError, match="heads"):
        network.pruned(5)


@pytest.mark.parametrize("depth", [0, 5])
def test_a_u_net_plus_plus_without_such_levels_is_refused(depth: int) -> None:
    with pytest.raises(OptionInvalid, match=f"unetpp_l1: The depth is 1 to 4, not {depth}"):
        build_network("unetpp_l1", {"depth": depth})


@pytest.mark.parametrize("depth", [2, 4])
def test_the_accurate_mode_is_the_mean_of_the_heads_maps(depth: int) -> None:
    torch.manual_seed(4)
    network = UNetPlusPlus(batch_norm=True).eval()
    picture = 4 * torch.randn(2, 3, 32, 48)
    served = ServedShape(depth=depth, is_accurate=True).applied(network, "unetpp_bn")
    with torch.inference_mode():
        heads = [torch.sigmoid(each) for each in network(picture)[4 - depth :]]
        mean = torch.sigmoid(served(picture)[0])

    assert torch.allclose(mean, torch.stack(heads).mean(0), atol=1e-6)
    assert not torch.allclose(mean, heads[0], atol=1e-3)
    with pytest.raises(CommandFailed, match="accurate mode"):
        ServedShape(is_accurate=True).applied(ARCHITECTURES["stdc1"](), "stdc1")


def test_the_accurate_mode_does_not_round_sure_pixels_to_infinity() -> None:
    """Heads of logits up to 200 in absolute value; the sigmoid itself would round these to 0 and 1."""
    heads = tuple(torch.full((1, 1, 2, 2), each) for each in (200.0, 180.0))
    network = UNetPlusPlus(depth=2).eval()
    network.forward = lambda _: heads  # type: ignore[method-assign]
    with torch.inference_mode():
        logits = AccurateMode(network)(torch.zeros(1, 3, 2, 2))[0]

    assert logits.isfinite().all()
    assert float(logits.min()) > 170


class TestAccurateMode(Contract):
    build = staticmethod(lambda: AccurateMode(UNetPlusPlus(depth=1)))


def test_stdc_runs_its_training_heads_only_in_training() -> None:
    network = ARCHITECTURES["stdc1"]().eval()
    with torch.no_grad():
        for parameter in network.training_heads.parameters():
            parameter.fill_(float("nan"))

        assert network(torch.randn(1, 3, 64, 64))[0].isfinite().all()


def test_a_dense_block_concatenates_a_half_a_quarter_and_two_eighths() -> None:
    block = ShortTermDenseConcat(8, 32, stride=2).eval()
    features = torch.randn(1, 8, 9, 13)
    with torch.inference_mode():
        first = block.first(features)
        joined = block(features)

    assert tuple(joined.shape) == (1, 32, 5, 7)
    assert torch.equal(joined[:, :16], functional.avg_pool2d(first, 3, 2, 1))
    assert [layer[0].out_channels for layer in block.rest] == [8, 4, 4]
    assert not any(isinstance(layer, nn.ReLU) for layer in block.shrink)


def test_two_runs_of_a_network_agree_to_the_bit() -> None:
    """A network is deterministic within a process."""
    network = ARCHITECTURES["stdc1"]().eval()
    with torch.inference_mode():
        digests = {
            hashlib.sha256(np.asarray(network(torch.ones(1, 3, 64, 64))[0]).tobytes()).hexdigest()
            for _ in range(2)
        }

    assert len(digests) == 1
