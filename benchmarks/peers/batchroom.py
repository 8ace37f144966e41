"""Batchroom: its server works on jobs: a job for each picture, questions after it, and a download.

The server reports progress by events too; asking every 20 ms costs it a query of its database each.
"""

import asyncio
import json
import urllib.parse
from dataclasses import replace

from benchmarks.client import Client, Reply, Shot
from benchmarks.peers.peer import Launch, Peer, form, link_weights

POLL_S = 0.02
RECIPE = """\
name: {name}
description: Background removal
version: 1
input: {{ formats: [jpg, png] }}
steps:
  - {{ op: remove-background, model: {model}, alpha_matting: {matting} }}
  - {{ op: convert, format: png }}
output: {{ structure: flat, manifest: false }}
"""


class JobClient(Client):
    """Sends a picture as a job, waits until it is done, and fetches its result."""

    async def post(self, shot: Shot) -> Reply:
        """Return the result of the picture in ``shot``; a failed job is a reply with status 500.

        Raises:
            OSError: The connection failed, or the job timed out.
        """
        async with asyncio.timeout(self.timeout_s):
            created = await super().post(shot)
            if created.status != 202:
                return created
            job = json.loads(created.body)
            path = f"/api/jobs/{job['id']}"
            while job["status"] not in ("done", "cancelled"):
                await asyncio.sleep(POLL_S)
                job = json.loads((await super().post(Shot(path, b"", (), "GET"))).body)
            (item,) = job["items"]
            if item["status"] != "done":
                return replace(created, status=500, body=str(item["error"]).encode())
            (output,) = item["result"]["outputs"]
            return await super().post(
                Shot(f"{path}/outputs/{urllib.parse.quote(output['path'])}", b"", (), "GET")
            )


def _prepare(launch: Launch) -> None:
    link_weights(launch, launch.scratch / "models")
    folder = launch.scratch / "recipes"
    folder.mkdir()
    for name, matting in (("cutout", "false"), ("matted", "true")):
        text = RECIPE.format(name=name, model=launch.model, matting=matting)
        (folder / f"{name}.yaml").write_text(text)


def _request(operation: str, _: str, upload: bytes) -> Shot | None:
    if operation == "mask":
        return None
    return form("/api/jobs", {"recipe": operation}, file_field="files", upload=upload)


PEER = Peer(
    name="batchroom",
    requirements=("batchroom==0.1.0",),
    description="FastAPI with a queue of jobs in SQLite, one worker for two cores; matting: a guided filter",
    command=lambda launch: (
        *(launch.script("batchroom"), "serve", "--host", "127.0.0.1"),
        *("--port", str(launch.port)),
    ),
    environment=lambda launch: {"BATCHROOM_DATA_DIR": str(launch.scratch), "BATCHROOM_WATCH": "0"},
    prepare=_prepare,
    ready_path="/api/health",
    request=_request,
    client=JobClient,
)
