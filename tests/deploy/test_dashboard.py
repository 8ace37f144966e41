"""The dashboard, held against the types that Grafana publishes of its dashboards and panels."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.npm import compiler_says, npm_packages

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
    found: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found


def complaints(packages: Path, found: dict[str, Any]) -> str:
    lines = [HEAD, f"export const dashboard: Json<Dashboard> = {json.dumps(found, indent=1)};"]
    for panel in found["panels"]:
        options = json.dumps(panel.get("options"))
        if panel["type"] == "timeseries":
            custom = json.dumps(panel["fieldConfig"]["defaults"]["custom"])
            lines.append(f"export const o{panel['id']}: Partial<Json<Lines>> = {options};")
            lines.append(f"export const f{panel['id']}: Json<FieldConfig> = {custom};")
        elif panel["type"] == "stat":
            lines.append(f"export const o{panel['id']}: Partial<Json<Stat>> = {options};")
    return compiler_says(packages, "\n".join(lines))


def test_the_dashboard_is_what_grafana_calls_one(packages: Path) -> None:
    assert complaints(packages, dashboard()) == ""


@pytest.mark.parametrize("where", ["dashboard", "panel", "options"])
def test_a_member_that_there_is_not_would_be_noticed(packages: Path, where: str) -> None:
    wrong = copy.deepcopy(dashboard())
    panel = next(panel for panel in wrong["panels"] if panel["type"] == "timeseries")
    {"dashboard": wrong, "panel": panel, "options": panel["options"]}[where]["tootip"] = 1

    assert "tootip" in complaints(packages, wrong)
