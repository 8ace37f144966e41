"""Renderers: turn the results of a batch into the bytes of its response, as a ZIP or as lines of JSON."""

import asyncio
import json
import zlib
from collections.abc import AsyncIterator
from typing import Protocol

from app.web.batch.item import ItemResult
from app.web.batch.report import Report
from app.web.batch.zip_writer import ZipWriter
from app.web.sliced_response import SLICE_BYTES, Base64, json_slices_of

ZIP_TYPE, NDJSON_TYPE = "application/zip", "application/x-ndjson"
REPORT_NAME = "report.json"


class Renderer(Protocol):
    """Renders one batch; each method yields slices of the response."""

    media_type: str
    file_name: str
    """The name under which a browser saves the response, if it does."""

    def item(self, item: ItemResult) -> AsyncIterator[bytes | memoryview]:
        """Render one item."""

    def end(self) -> AsyncIterator[bytes | memoryview]:
        """Render the end of the response."""


def renderer_for(accept: str, report: Report) -> Renderer:
    """Return the renderer of a request: lines of JSON if it accepts them and no ZIP."""
    kinds = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    takes_lines = bool(kinds & {NDJSON_TYPE, "application/ndjson", "application/jsonl"})
    return NdjsonRenderer(report) if takes_lines and ZIP_TYPE not in kinds else ZipRenderer(report)


class ZipRenderer:
    """A ZIP of the results in the order in which they were ready, and of ``report.json`` at its end."""

    media_type = ZIP_TYPE
    file_name = "cutouts.zip"

    def __init__(self, report: Report) -> None:
        self._report = report
        self._items: list[dict[str, object]] = []
        self._zip = ZipWriter()

    async def item(self, item: ItemResult) -> AsyncIterator[bytes | memoryview]:
        """Render one item: an entry for each of its files; an error is in the report only."""
        described = self._report.add(item)
        self._items.append(described)
        if item.result is None:
            return
        for key, encoded in (("result", item.result.encoded), ("mask_result", item.result.mask)):
            if encoded is not None:
                async for piece in self._entry(str(described[key]), encoded):
                    yield piece

    async def end(self) -> AsyncIterator[bytes | memoryview]:
        """Render the report and the directory."""
        report = {"items": self._items, **self._report.totals()}
        encoded = await asyncio.to_thread(lambda: json.dumps(report, ensure_ascii=False, indent=1).encode())
        async for piece in self._entry(REPORT_NAME, encoded):
            yield piece
        yield self._zip.end()

    async def _entry(self, name: str, content: bytes) -> AsyncIterator[bytes | memoryview]:
        whole, crc = memoryview(content), 0
        starts = range(0, len(whole), SLICE_BYTES)
        for start in starts:
            crc = zlib.crc32(whole[start : start + SLICE_BYTES], crc)
            await asyncio.sleep(0)
        yield self._zip.entry(name, size_bytes=len(whole), crc=crc)
        for start in starts:
            yield whole[start : start + SLICE_BYTES]


class NdjsonRenderer:
    """A line of JSON for each item, in the order in which they were ready, and one for the batch."""

    media_type = NDJSON_TYPE
    file_name = ""

    def __init__(self, report: Report) -> None:
        self._report = report

    async def item(self, item: ItemResult) -> AsyncIterator[bytes | memoryview]:
        """Render one item, with its pictures in base64 as in the JSON of ``/v1/cutout``."""
        line = self._report.add(item)
        if item.result is not None:
            line["image"] = Base64(item.result.encoded)
            if item.result.mask is not None:
                line["mask"] = Base64(item.result.mask)
        for piece in json_slices_of(line):
            yield piece
        yield b"\n"

    async def end(self) -> AsyncIterator[bytes | memoryview]:
        """Render the last line, which says how many items there were, and that the response is complete."""
        line = json.dumps({"batch": self._report.totals()}, ensure_ascii=False, separators=(",", ":"))
        yield line.encode() + b"\n"
