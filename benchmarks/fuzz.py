"""Fuzz: coverage-guided fuzzing of the code that decodes uploads.

    pip install atheris        (Linux)
    python -m benchmarks.fuzz --seeds FOLDER [--seconds 600] [--finds finds]

The seeds are all files in the folder of at most 64 KiB. ``sniff`` and ``decode`` may only raise the app's own
errors. Any other error, the crash of a decoder, or a file that takes more than two seconds is a find: it is
written to ``--finds``, and its fix needs a test. Coverage is measured only in the app's own code, because the
decoder libraries are not built for it.
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

MAX_SEED_BYTES = 64 * 1024
LIMIT_PX, LIMIT_SIDE_PX = 1_000_000, 16_384


def decode_upload(upload: bytes) -> None:
    """Process an upload like the service before inference; only bugs raise."""
    try:
        header = sniff(upload)
        check_size(header, limit_px=LIMIT_PX, limit_side_px=LIMIT_SIDE_PX)
        decode(upload, header)
    except CutoutError:
        pass


def main() -> None:
    """Fuzz until the time is up; the exit code is 0 if nothing was found."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seeds", type=Path, required=True)
    parser.add_argument("--finds", type=Path, default=Path("finds"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # libraries warn about every damaged file
    args.finds.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as corpus:
        for number, path in enumerate(sorted(args.seeds.rglob("*"))):
            if path.is_file() and path.stat().st_size <= MAX_SEED_BYTES:
                shutil.copyfile(path, Path(corpus, str(number)))
        options = (
            f"-max_total_time={args.seconds}",
            f"-max_len={MAX_SEED_BYTES}",
            f"-artifact_prefix={args.finds}/",
            *("-timeout=2", "-rss_limit_mb=4096", "-print_final_stats=1"),
        )
        atheris.Setup([sys.argv[0], corpus, *options], decode_upload)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
