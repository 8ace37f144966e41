"""Rules, alerts and the dashboard: every metric in them is exported by the service."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.engine.capacity.admission import Admission, Budget
from app.telemetry import Telemetry
from app.web.problems import KINDS
from tests.deploy.promql import metrics_of

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docker/prometheus/rules.yml"
OTHERS = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> Iterator[dict[str, Any]]:
    text = (ROOT / "docker/grafana/dashboards/cutout.json").read_text(encoding="utf-8")
    yield from json.loads(text)["panels"]


def queries() -> list[str]:
    return [
        target["expr"].replace("$instance", ".*") for panel in panels() for target in panel.get("targets", ())
    ]


def exposed() -> set[str]:
    """Return every series that /metrics exports, and those that the rules record."""
    names: set[str] = set(OTHERS) | {rule["record"] for rule in rules() if "record" in rule}
    telemetry = Telemetry()
    telemetry.watch_admission(Admission(Budget(1, 1, 1, 1)))
    telemetry.watch_lifecycle(lambda: False, restarts={})
    telemetry.watch_gpu(used_bytes=lambda: 1.0, total_bytes=lambda: 2.0)
    for family in telemetry.registry.collect():
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
        names |= {family.name + ending for ending in endings.get(family.type, ("",))}
    return names


@pytest.mark.parametrize("expression", [*(rule["expr"] for rule in rules()), *queries()])
def test_every_metric_is_exported_by_the_service(expression: str) -> None:
    metrics = metrics_of(expression)

    assert metrics
    assert metrics <= exposed()


def test_unknown_metrics_in_an_expression_are_found() -> None:
    assert metrics_of("sum(rate(cutout_none_total[5m])) / on() max(x) > 3") == {"cutout_none_total", "x"}


def test_every_outcome_in_a_rule_exists() -> None:
    slugs = {kind.slug for kind in KINDS}
    for rule in rules():
        for listed in re.findall(r'outcome=~"([^"]+)"', rule["expr"]):
            assert set(listed.split("|")) <= slugs


def test_every_alert_has_a_summary_and_a_section_of_the_runbook() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "docs/runbook.md").read_text(encoding="utf-8"), re.MULTILINE)
    anchors = {f"docs/runbook.md#{heading.lower().replace(' ', '-')}" for heading in headings}
    alerts = [rule for rule in rules() if "alert" in rule]

    assert len(alerts) >= 8
    for alert in alerts:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"]
        assert alert["annotations"]["runbook"] in anchors


def test_the_prometheus_operator_has_the_same_rules() -> None:
    copy = yaml.safe_load((ROOT / "deploy/kubernetes/overlays/monitoring/rules.yaml").read_text())

    assert copy["spec"]["groups"] == yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]


def test_panels_do_not_overlap_and_have_descriptions() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        grid = panel["gridPos"]
        squares = {(grid["x"] + dx, grid["y"] + dy) for dx in range(grid["w"]) for dy in range(grid["h"])}
        assert not squares & taken
        assert all(0 <= x < 24 for x, _ in squares)
        taken |= squares
        assert panel["type"] == "row" or panel["description"]
    assert len({panel["id"] for panel in panels()}) == len(list(panels()))


def test_compose_mounts_existing_files_for_monitoring() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["monitoring"]
        for mount in services[name]["volumes"]:
            source = mount.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists(), mount
