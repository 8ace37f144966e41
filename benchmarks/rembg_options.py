"""Rembg options: compares our ``/api/remove`` with rembg: kinds of results, and errors along edges.

    make peers
    python -m benchmarks.rembg_options --peers .venv-peers/bin/python [--scenes DIR] PICTURE [PICTURE ...]

Starts the rembg server and ours with the same weights, and sends every picture with every combination of
``om``, ``ppm``, ``a``, ``dc`` and ``bgc`` to both: size, mode and format must be the same. With ``--scenes``,
scenes with known opacity and colours (``tests/composites.py``) over the photographs of a folder are sent to
both, to rembg with its defaults and to ours with ``dc``; ``benchmarks/edges.py`` computes the errors.
"""

import argparse
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.arrays import Rgb
from benchmarks.edges import path_errors
from benchmarks.rembg import TIMEOUT_S, rembg_server
from benchmarks.report import ROOT, Figure, print_figures, print_machine, print_table
from benchmarks.server import Server
from tests.composites import composite, photographs_in

ERRORS = ("colour", "over white", "over black")


def main() -> None:
    """Print the differences."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--peers", type=Path, required=True, help="a Python interpreter with rembg")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("--scenes", type=Path, help="photographs to use as backgrounds of scenes")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("pictures", type=Path, nargs="+")
    args = parser.parse_args()
    print_machine()
    compared = different = 0
    figures: list[Figure] = []
    with (
        rembg_server(args.peers, args.models_dir) as theirs,
        Server("u2net", args.models_dir) as server,
        httpx.Client(timeout=TIMEOUT_S) as client,
    ):
        for picture, options in itertools.product(args.pictures, combinations()):
            kinds = [
                _kind(client, f"{url}/api/remove", picture.read_bytes(), options)
                for url in (theirs, f"http://{server.host}:{server.port}")
            ]
            compared += 1
            if kinds[0] != kinds[1]:
                different += 1
                print(picture.name, options, *kinds)
        if args.scenes is not None:
            urls = theirs, f"http://{server.host}:{server.port}"
            figures = _edges(client, urls, photographs_in(args.scenes, 6 * args.seeds), args.seeds)
    print(f"{compared} results compared\n")
    print_figures([Figure("results with another size, mode or format", different, 0), *figures])


def _edges(client: httpx.Client, urls: tuple[str, str], photographs: list[Rgb], seeds: int) -> list[Figure]:
    """Return our errors along edges relative to rembg's, over the scenes where both find a subject."""
    errors = []
    for seed in range(seeds):
        scene = composite(1.0, seed, photographs)
        upload = cv2.imencode(".png", scene.rgb[:, :, ::-1])[1].tobytes()
        responses = [
            _cutout(client, url, upload, dc) for url, dc in zip(urls, ("false", "true"), strict=True)
        ]
        if all(response[:, :, 3].any() for response in responses):
            errors.append([path_errors(a[:, :, :3], a[:, :, 3] / np.float32(255), scene) for a in responses])
    theirs, ours = np.mean(errors, axis=0)
    rows = [(name, *(f"{value:.2f}" for value in row)) for name, row in (("rembg", theirs), ("ours", ours))]
    print_table((f"{len(errors)} of {seeds} scenes, 1 MP", *ERRORS), rows)
    return [
        Figure(f"dc, {what}, of rembg's default", a / b, 1, " ×")
        for what, a, b in zip(ERRORS, ours, theirs, strict=True)
    ]


def _cutout(client: httpx.Client, url: str, upload: bytes, dc: str) -> NDArray[np.uint8]:
    form = {"model": "u2net", "dc": dc}
    response = client.post(f"{url}/api/remove", data=form, files={"file": ("scene.png", upload)})
    return np.asarray(Image.open(io.BytesIO(response.raise_for_status().content)))


def combinations() -> Iterator[dict[str, str]]:
    """Yield every combination of options that has an effect in rembg."""
    for values in itertools.product(("false", "true"), repeat=4):
        options = dict(zip(("om", "ppm", "a", "dc"), values, strict=True))
        for colour in ({}, {"bgc": "255,0,0,255"}, {"bgc": "0,0,255,100"}):
            if options["om"] == "false" or (options["a"] == options["dc"] == "false" and not colour):
                yield options | colour


def _kind(client: httpx.Client, url: str, upload: bytes, options: dict[str, str]) -> str:
    form = {name: text for name, text in options.items() if name != "bgc"}
    query = {name: text for name, text in options.items() if name == "bgc"}
    files = {"file": ("picture.jpg", upload)}
    response = client.post(url, data={"model": "u2net", **form}, params=query, files=files)
    if response.status_code != 200:
        return f"status {response.status_code}"
    opened = Image.open(io.BytesIO(response.content))
    return f"{opened.format} {opened.mode} {opened.size}"


if __name__ == "__main__":
    main()
