"""Cut out every picture of a folder, one request after the other, with httpx.

    python loop.py http://127.0.0.1:8000 photos cutouts [KEY]

Pictures whose result exists are skipped, so an interrupted run can be started again. A busy server says when
to try again; a lost connection is tried again with the same Idempotency-Key, so the picture is processed
once.
"""

import sys
import time
import uuid
from pathlib import Path

import httpx

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".gif"}
ATTEMPTS = 5


def cut_out(client: httpx.Client, picture: Path) -> bytes:
    """Return the cutout of a picture as PNG."""
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    for attempt in range(1, ATTEMPTS + 1):
        try:
            response = client.post("/v1/cutout", content=picture.read_bytes(), headers=headers)
        except httpx.TransportError:
            if attempt == ATTEMPTS:
                raise
            time.sleep(2**attempt)
            continue
        if "retry-after" not in response.headers or attempt == ATTEMPTS:
            break
        time.sleep(int(response.headers["retry-after"]))
    if response.is_error:
        raise ValueError(response.json()["detail"])
    return response.content


def main() -> int:
    """Process the folder, and return 1 if a picture failed."""
    server, source, target, *key = sys.argv[1:]
    failed = 0
    Path(target).mkdir(parents=True, exist_ok=True)
    headers = {"X-Api-Key": key[0]} if key else {}
    with httpx.Client(base_url=server, headers=headers, timeout=90) as client:
        for picture in sorted(Path(source).iterdir()):
            result = Path(target) / f"{picture.stem}-cutout.png"
            if picture.suffix.lower() not in SUFFIXES or result.exists():
                continue
            try:
                content = cut_out(client, picture)
            except (httpx.TransportError, ValueError) as error:
                failed += 1
                print(f"{picture.name}: {error}", file=sys.stderr)
                continue
            partial = result.with_suffix(".part")
            partial.write_bytes(content)
            partial.rename(result)  # never a half-written result
            print(result)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
