"""The page that describes the metrics against the metrics themselves."""

import re
from pathlib import Path

from app.engine.capacity.admission import Admission, Budget
from app.telemetry import Telemetry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(cutout_\w+)` \| (\w+) \| ([^|]*) \| (.+) \|$", re.MULTILINE)


def test_every_metric_is_on_the_page_with_its_type_labels_and_meaning() -> None:
    telemetry = Telemetry()
    telemetry.watch_admission(Admission(Budget(1, 1, 1, 1)))
    telemetry.watch_lifecycle(lambda: False, restarts={})
    telemetry.watch_gpu(used_bytes=lambda: 1.0, total_bytes=lambda: 2.0)
    here = {
        name: (metric._type, ", ".join(metric._labelnames), metric._documentation)
        for metric in telemetry.registry._collector_to_names
        if (name := _shown_name(metric)).startswith("cutout_")
    }
    rows = {name: (kind, labels.strip(), told) for name, kind, labels, told in ROW.findall(PAGE.read_text())}

    assert here.keys() == rows.keys()
    for name, (kind, labels, meaning) in here.items():
        assert rows[name][:2] == (kind, labels), name
        assert rows[name][2].startswith(meaning), name


def _shown_name(metric: object) -> str:
    name = getattr(metric, "_name", "")
    return f"{name}_total" if getattr(metric, "_type", "") == "counter" else name
