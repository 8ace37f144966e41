"""Fuzz: files that change at random, towards code not yet seen, against what looks at uploads.

    pip install atheris        (Linux)
    python -m benchmarks.fuzz --seeds FOLDER [--seconds 600] [--finds finds]

Every file below the folder of at most 64 KiB is where the search begins. Whatever ``sniff`` and ``decode``
raise must be one of our own errors. Anything else, the crash of a decoder, or a file that takes more than
two seconds is a find: it is written into ``--finds``, and belongs into a test with its mending. The coverage
that leads the search is that of our own code, since the decoders' libraries are not built for it.
"""

import argparse
import shutil
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["app.imaging"]):
    from app.imaging.formats.decode import decode
    from app.imaging.formats.sniff import check_size, sniff

from app.errors import CutoutError

LARGEST_SEED_BYTES = 64 * 1024
LIMIT_PX, LIMIT_SIDE_PX = 1_000_000, 16_384


def look_at(upload: bytes) -> None:
    """Do with an upload what the service does before the network; let nothing but bugs out."""
    try:
        header = sniff(upload)
        check_size(header, limit_px=LIMIT_PX, limit_side_px=LIMIT_SIDE_PX)
        decode(upload, header)
    except CutoutError:
        pass


def main() -> None:
    """Search until the time is up; the exit code is 0 if nothing was found."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--finds", type=Path, default=Path("finds"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # one of a library's per damaged file
    args.finds.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, path in enumerate(sorted(args.seeds.rglob("*"))):
            if path.is_file() and path.stat().st_size <= LARGEST_SEED_BYTES:
                shutil.copyfile(path, Path(corpus, str(number)))
        options = (
            f"-max_total_time={args.seconds}",
            f"-max_len={LARGEST_SEED_BYTES}",
            f"-artifact_prefix={args.finds}/",
            *("-timeout=2", "-rss_limit_mb=4096", "-print_final_stats=1"),
        )
        atheris.Setup([sys.argv[0], corpus, *options], look_at)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
