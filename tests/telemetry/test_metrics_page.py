"""The documentation page of the metrics, compared with the metrics."""

import re
from pathlib import Path

from app.engine.capacity.admission import Admission, Budget
from app.telemetry import Telemetry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(cutout_\w+)` \| (\w+) \| ([^|]*) \| (.+) \|$", re.MULTILINE)


def test_every_metric_is_on_the_page_with_its_type_labels_and_description() -> None:
    telemetry = Telemetry()
    telemetry.watch_admission(Admission(Budget(1, 1, 1, 1)))
    telemetry.watch_lifecycle(lambda: False, restarts={})
    telemetry.watch_gpu(used_bytes=lambda: 1.0, total_bytes=lambda: 2.0)
    metrics = {
        name: (metric._type, ", ".join(metric._labelnames), metric._documentation)
        for metric in telemetry.registry._collector_to_names
        if (name := _exported_name(metric)).startswith("cutout_")
    }
    rows = {name: (kind, labels.strip(), text) for name, kind, labels, text in ROW.findall(PAGE.read_text())}

    assert metrics.keys() == rows.keys()
    for name, (kind, labels, description) in metrics.items():
        assert rows[name][:2] == (kind, labels), name
        assert rows[name][2].startswith(description), name


def _exported_name(metric: object) -> str:
    name = getattr(metric, "_name", "")
    return f"{name}_total" if getattr(metric, "_type", "") == "counter" else name
