"""The dashboard, checked against Grafana's published types of dashboards and panels."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.npm import compiler_errors, npm_packages

pytestmark = pytest.mark.process
DASHBOARD = Path(__file__).parents[2] / "docker/grafana/dashboards/cutout.json"
PANELS = "@grafana/schema/dist/esm/raw/composable/{}/panelcfg/x/{}PanelCfg_types.gen"
HEAD = f"""
import type {{Dashboard}} from '@grafana/schema';
import type {{Options as Lines, FieldConfig}} from '{PANELS.format("timeseries", "TimeSeries")}';
import type {{Options as Stat}} from '{PANELS.format("stat", "Stat")}';
// JSON has the values of enumerations, not their names.
type Json<T> = T extends string ? `${{T}}` : T extends object ? {{[K in keyof T]: Json<T[K]>}} : T;
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm_packages(tmp_path_factory.mktemp("grafana"), "@grafana/schema@13.2.3")


def dashboard() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return document


def errors_in(packages: Path, document: dict[str, Any]) -> str:
    lines = [HEAD, f"export const dashboard: Json<Dashboard> = {json.dumps(document, indent=1)};"]
    for panel in document["panels"]:
        options = json.dumps(panel.get("options"))
        if panel["type"] == "timeseries":
            custom = json.dumps(panel["fieldConfig"]["defaults"]["custom"])
            lines.append(f"export const o{panel['id']}: Partial<Json<Lines>> = {options};")
            lines.append(f"export const f{panel['id']}: Json<FieldConfig> = {custom};")
        elif panel["type"] == "stat":
            lines.append(f"export const o{panel['id']}: Partial<Json<Stat>> = {options};")
    return compiler_errors(packages, "\n".join(lines))


def test_the_dashboard_matches_grafanas_types(packages: Path) -> None:
    assert errors_in(packages, dashboard()) == ""


@pytest.mark.parametrize("where", ["dashboard", "panel", "options"])
def test_an_unknown_member_is_detected(packages: Path, where: str) -> None:
    invalid = copy.deepcopy(dashboard())
    panel = next(panel for panel in invalid["panels"] if panel["type"] == "timeseries")
    {"dashboard": invalid, "panel": panel, "options": panel["options"]}[where]["tootip"] = 1

    assert "tootip" in errors_in(packages, invalid)
