"""Rembg's options: does our ``/api/remove`` give pictures of the size, mode and format that rembg's gives?

    make peers
    python -m benchmarks.rembg_options --peers .venv-peers/bin/python PICTURE [PICTURE ...]

Starts the real rembg server and ours on the same weights, and sends every picture with every combination of
``om``, ``ppm``, ``a``, ``dc`` and ``bgc`` to both.
"""

import argparse
import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import httpx
from PIL import Image

from benchmarks.rembg import TIMEOUT_S, rembg_server
from benchmarks.report import ROOT, Figure, print_figures, print_machine
from benchmarks.server import Server


def main() -> None:
    """Print what differs."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--peers", type=Path, required=True, help="a Python that has rembg")
    parser.add_argument("--models-dir", type=Path, default=ROOT / "models")
    parser.add_argument("pictures", type=Path, nargs="+")
    asked = parser.parse_args()
    print_machine()
    compared = different = 0
    with (
        rembg_server(asked.peers, asked.models_dir) as theirs,
        Server("u2net", asked.models_dir) as server,
        httpx.Client(timeout=TIMEOUT_S) as client,
    ):
        for picture, options in itertools.product(asked.pictures, combinations()):
            kinds = [
                _kind(client, f"{url}/api/remove", picture.read_bytes(), options)
                for url in (theirs, f"http://{server.host}:{server.port}")
            ]
            compared += 1
            if kinds[0] != kinds[1]:
                different += 1
                print(picture.name, options, *kinds)
    print(f"{compared} answers compared\n")
    print_figures([Figure("answers of another size, mode or format", different, 0)])


def combinations() -> Iterator[dict[str, str]]:
    """Yield every combination of options that rembg would look at."""
    for values in itertools.product(("false", "true"), repeat=4):
        options = dict(zip(("om", "ppm", "a", "dc"), values, strict=True))
        for colour in ({}, {"bgc": "255,0,0,255"}, {"bgc": "0,0,255,100"}):
            if options["om"] == "false" or (options["a"] == options["dc"] == "false" and not colour):
                yield options | colour


def _kind(client: httpx.Client, url: str, upload: bytes, options: dict[str, str]) -> str:
    form = {name: text for name, text in options.items() if name != "bgc"}
    query = {name: text for name, text in options.items() if name == "bgc"}
    files = {"file": ("picture.jpg", upload)}
    answer = client.post(url, data={"model": "u2net", **form}, params=query, files=files)
    if answer.status_code != 200:
        return f"status {answer.status_code}"
    opened = Image.open(io.BytesIO(answer.content))
    return f"{opened.format} {opened.mode} {opened.size}"


if __name__ == "__main__":
    main()
