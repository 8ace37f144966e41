"""Cut out a folder in batches, with httpx; run it again to go on where it was.

    python resume.py http://127.0.0.1:8000 photos cutouts

httpx reads the response when it has sent the request, so a batch here has few pictures: the server keeps
16 MiB of results for such a client. Each line of the response is one picture; it is saved when it arrives,
and what is there already is not sent again.
"""

import base64
import json
import sys
from itertools import islice
from pathlib import Path

import httpx

PICTURES = 20


def main() -> int:
    """Process the folder, and return 1 if a picture failed."""
    server, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    target.mkdir(parents=True, exist_ok=True)
    failed = 0
    files = [path for path in sorted(source.iterdir()) if path.is_file()]
    waiting = iter([path for path in files if not (target / f"{path.stem}-cutout.png").exists()])
    with httpx.Client(base_url=server, timeout=120, headers={"Accept": "application/x-ndjson"}) as client:
        while pictures := list(islice(waiting, PICTURES)):
            parts = [("image", (picture.name, picture.read_bytes())) for picture in pictures]
            with client.stream("POST", "/v1/batch", files=parts) as response:
                response.raise_for_status()
                for item in map(json.loads, response.iter_lines()):
                    failed += save(item, target)
    return 1 if failed else 0


def save(item: dict, target: Path) -> bool:
    """Save the result of one line; return whether the picture failed."""
    if "image" in item:
        partial = target / f"{item['result']}.part"
        partial.write_bytes(base64.b64decode(item["image"]))
        partial.rename(target / item["result"])  # never a half-written result
    elif "problem" in item:
        print(f"{item['name']}: {item['problem']['detail']}", file=sys.stderr)
    return "problem" in item


if __name__ == "__main__":
    sys.exit(main())
