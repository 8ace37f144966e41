"""Report: describes each item of a batch and the batch as a whole, for programs that read it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.web.batch.item import OK, SKIPPED, ItemResult
from app.web.endpoints.v1_responses import describe_result
from app.web.request.entry_names import ResultNames, reported_name


@dataclass(slots=True)
class Report:
    """The counts of one batch.

    Attributes:
        succeeded, failed, skipped, ignored: Numbers of pictures; ignored are folders and files that an
            operating system adds to archives.
        problem: Why the batch ended early, as a problem document.
        unused_names: Names in ``items`` for which no picture came.
        result_bytes: Size of all results.
    """

    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    ignored: int = 0
    problem: Mapping[str, object] | None = None
    unused_names: Sequence[str] = ()
    result_bytes: int = 0
    _names: ResultNames = field(default_factory=ResultNames)

    def add(self, item: ItemResult) -> dict[str, object]:
        """Count an item, and return its description without its pictures.

        ``result`` and ``mask_result`` are the names of its files in a ZIP.
        """
        described: dict[str, object] = {"name": reported_name(item.name), "status": item.status}
        if item.result is None:
            self.skipped += item.status == SKIPPED
            self.failed += item.status != SKIPPED
            return described if item.problem is None else {**described, "problem": dict(item.problem)}
        assert item.status == OK  # noqa: S101 - else it has no result
        self.succeeded += 1
        self.result_bytes += item.size_bytes
        extension = item.result.media_type.rpartition("/")[2].replace("jpeg", "jpg")
        suffix = "mask" if item.is_mask else "cutout"
        described["result"] = self._names.add(item.name, suffix=suffix, extension=extension)
        if item.result.mask is not None:
            described["mask_result"] = self._names.add(item.name, suffix="mask", extension="png")
        return {**described, **describe_result(item.result, item.steps_s)}

    def totals(self) -> dict[str, object]:
        """Return the description of the batch as a whole."""
        return {
            "succeeded": self.succeeded,
            "failed": self.failed,
            "skipped": self.skipped,
            "ignored": self.ignored,
            "unused_names": [reported_name(name) for name in self.unused_names],
            "problem": None if self.problem is None else dict(self.problem),
        }
