"""Reading: what was sent becomes what the network takes, or an answer that is known already.

All of it runs on a ``decode`` thread; who calls it when stands in ``app/pipeline/run.py``.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.arrays import Cutout, Grey, NetworkInput, Rgb, SaliencyMap
from app.engine.capacity.cache import Cache
from app.engine.models.manifest import Manifest
from app.errors import Settled
from app.imaging.formats.decode import Picture
from app.imaging.formats.sniff import Header
from app.imaging.layout.compose import hide_in_white, over_white, premultiply
from app.imaging.layout.region import Frame, frame_picture, saliency_from_mask
from app.imaging.matting.refine import Box, blend_maps, prepare_crop
from app.imaging.matting.saliency import shrink_alpha, stretch, weigh
from app.imaging.prepare import prepare
from app.options import CutoutOptions, MaskOptions
from app.pipeline.footprint import Footprint
from app.pipeline.render import Result, Segmentation
from app.telemetry import StepTimes

Read = Callable[[bytes, Header], Picture]
"""``decode``, here or in another process."""


class NotModified(Settled):
    """The caller has this very answer already; nothing was decoded."""

    def __init__(self, etag: str) -> None:
        self.etag = etag
        super().__init__(etag)


class Remembered(Settled):
    """This very answer was given before, and is remembered; nothing was decoded."""

    def __init__(self, result: Result) -> None:
        self.result = result
        super().__init__(result.info.etag)


@dataclass(frozen=True, slots=True)
class AdmittedUpload:
    """An upload that may be decoded, what comes with it, and the model that will see it."""

    upload: bytes
    header: Header
    model: str
    taken: Footprint
    backdrop: tuple[bytes, Header] | None = None
    mask: tuple[bytes, Header] | None = None


@dataclass(frozen=True, slots=True)
class PreparedPicture:
    """A decoded picture, and what the network takes of it, or the caller's mask in the network's place.

    ``etag`` is the answer's. ``visible`` is the picture's own alpha at the size of the network's map, and
    ``is_mask_empty`` tells that nothing that a caller's mask takes in is to be seen.
    """

    etag: str
    picture: Picture
    network_input: NetworkInput | None
    frame: Frame | None = None
    backdrop: Rgb | Cutout | None = None
    mask: SaliencyMap | None = None
    visible: Grey | None = None
    is_mask_empty: bool = False


def read_picture(
    way_in: AdmittedUpload,
    manifest: Manifest,
    options: MaskOptions | CutoutOptions,
    steps: StepTimes,
    *,
    known: frozenset[str],
    owner: str,
    read: Read,
    cache: Cache[Result],
) -> PreparedPicture:
    """Decode what was sent, and take what the network sees of it.

    Raises:
        NotModified: The caller has the answer.
        Remembered: The answer was given before.
        MaskDoesNotFit: The caller's mask has another shape than the picture.
        RegionOutsidePicture, RegionIsEmpty: There is nothing to see where one is to look.
    """
    frame, backdrop, mask = None, None, None
    with steps.step("decode"):
        etag = fingerprint(way_in, options, manifest)
        if etag in known:
            raise NotModified(etag)
        remembered = cache.get(cache_key(owner, etag))
        if remembered is not None:
            raise Remembered(remembered)
        picture = read(way_in.upload, way_in.header)
        if picture.own_alpha is not None:  # no step after this one may come upon hidden colours
            hide_in_white(picture.rgb, picture.own_alpha)
        if way_in.backdrop is not None:
            backdrop = _backdrop(read(*way_in.backdrop), options, steps)
        if way_in.mask is not None:
            mask = saliency_from_mask(read(*way_in.mask), picture, check=steps.check)
    with steps.step("prepare"):
        if isinstance(options, CutoutOptions) and (options.max_pixels or options.corners):
            picture, frame = frame_picture(picture, max_px=options.max_pixels, corners=options.corners)
        sent = PreparedPicture(etag, picture, None, frame, backdrop, mask)
        return _as_network_takes_it(sent, manifest.input_size_px, steps)


def _as_network_takes_it(sent: PreparedPicture, side_px: int, steps: StepTimes) -> PreparedPicture:
    """Add what the network takes of a picture, or what a mask in its place takes in."""
    own_alpha = sent.picture.own_alpha
    if sent.mask is not None:
        return replace(sent, is_mask_empty=not weigh(sent.mask, own_alpha).any())
    return replace(
        sent,
        network_input=prepare(_as_seen(sent.picture, steps), side_px),
        visible=None if own_alpha is None else shrink_alpha(own_alpha, side_px, side_px),
    )


def _as_seen(picture: Picture, steps: StepTimes) -> Rgb:
    """Return a picture as people see it: over white where it is see-through."""
    if picture.own_alpha is None:
        return picture.rgb
    return over_white(picture.rgb, picture.own_alpha, check=steps.check)


def _backdrop(sent: Picture, options: MaskOptions | CutoutOptions, steps: StepTimes) -> Rgb | Cutout:
    """Return what is to be behind the subject: see-through where that is asked for, else over white."""
    stays = isinstance(options, CutoutOptions) and options.channels == "rgba"
    if sent.own_alpha is None or not stays:
        return _as_seen(sent, steps)
    return premultiply(sent.rgb, sent.own_alpha, check=steps.check)


def read_crop(segmentation: Segmentation, box: Box, steps: StepTimes) -> NetworkInput:
    """Return what the network takes of the subject's surroundings."""
    with steps.step("refine"):
        return prepare_crop(_as_seen(segmentation.picture, steps), box, segmentation.manifest.input_size_px)


def blend(segmentation: Segmentation, raw: SaliencyMap, box: Box, steps: StepTimes) -> Segmentation:
    """Take over what a second look saw in the box."""
    height, width = segmentation.picture.rgb.shape[:2]
    with steps.step("refine"):
        saliency = blend_maps(segmentation.saliency, stretch(raw), box, height, width)
    return replace(segmentation, saliency=saliency, is_refined=True)


def cache_key(owner: str, etag: str) -> str:
    """Return under what an answer is remembered: for its owner alone, or it would tell of others."""
    return f"{owner}/{etag}"


def fingerprint(way_in: AdmittedUpload, options: MaskOptions | CutoutOptions, manifest: Manifest) -> str:
    """Return a strong entity tag over the pictures, the options and the model."""
    digest = hashlib.sha256(way_in.upload)
    digest.update(f"{type(options).__name__}{options.model_dump_json()}{manifest.sha256}".encode())
    for role, beside in (("backdrop", way_in.backdrop), ("mask", way_in.mask)):
        if beside is not None:
            digest.update(role.encode() + hashlib.sha256(beside[0]).digest())
    return digest.hexdigest()[:32]
