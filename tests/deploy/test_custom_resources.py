"""The resources of KEDA and of the Prometheus operator, checked against their projects' definitions.

The packages are generated from the Go types of the custom resource definitions: TypeScript's compiler finds
unknown members and values of a wrong type, the packages' own validators find the rest.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.npm import compiler_errors, npm_packages
from tests.deploy.test_kubernetes import rendered

pytestmark = pytest.mark.process
PACKAGES = ("@kubernetes-models/keda@2.0.0", "@kubernetes-models/prometheus-operator@6.0.0")
MODULE_OF = {
    "ScaledObject": "@kubernetes-models/keda/keda.sh/v1alpha1/ScaledObject",
    "ServiceMonitor": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor",
    "PrometheusRule": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule",
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return npm_packages(tmp_path_factory.mktemp("definitions"), *PACKAGES)


def resources() -> list[dict[str, Any]]:
    documents = [*rendered("keda"), *rendered("monitoring")]
    return [document for document in documents if document["kind"] in MODULE_OF]


def errors_in(packages: Path, documents: list[dict[str, Any]]) -> str:
    """Return the errors of the compiler and the validators for resources; empty if there are none."""
    typed, checked = [], []
    for number, document in enumerate(documents):
        kind, literal = document["kind"], json.dumps(document, indent=1)
        typed.append(f"import type {{I{kind} as I{number}}} from '{MODULE_OF[kind]}';")
        typed.append(f"export const d{number}: I{number} = {literal};")
        checked.append(f"import {{{kind} as K{number}}} from '{MODULE_OF[kind]}';")
        checked.append(f"new K{number}({literal}).validate();")
    (packages / "checked.mjs").write_text("\n".join(checked))
    finished = subprocess.run(["node", "checked.mjs"], cwd=packages, capture_output=True, text=True)
    return compiler_errors(packages, "\n".join(typed)) + finished.stderr


def test_every_resource_matches_its_definition(packages: Path) -> None:
    assert {document["kind"] for document in resources()} == set(MODULE_OF)
    assert errors_in(packages, resources()) == ""


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("ScaledObject", {"pollingIntervall": 15}),
        ("ScaledObject", {"maxReplicaCount": "8"}),
        ("ScaledObject", {"triggers": [{"type": "prometheus"}]}),
        ("ServiceMonitor", {"endpoints": [{"port": "metrics", "interval": "10 seconds"}]}),
        ("PrometheusRule", {"groups": [{"rules": []}]}),
    ],
)
def test_a_mistake_is_detected(packages: Path, kind: str, change: dict[str, Any]) -> None:
    (valid,) = (document for document in resources() if document["kind"] == kind)
    invalid = {**valid, "spec": {**valid["spec"], **change}}

    assert errors_in(packages, [invalid]) != ""
