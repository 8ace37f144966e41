"""The resources of KEDA and of the Prometheus operator, held against what their makers define.

The packages are made from the Go types that the custom resource definitions come from: TypeScript's compiler
finds members that there are not and values of another type, the packages' own validators the rest.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.npm import compiler_says, npm_packages
from tests.deploy.test_kubernetes import rendered

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


def complaints(packages: Path, documents: list[dict[str, Any]]) -> str:
    """Return what the compiler and the validators say of resources; nothing is right."""
    typed, checked = [], []
    for number, document in enumerate(documents):
        kind, literal = document["kind"], json.dumps(document, indent=1)
        typed.append(f"import type {{I{kind} as I{number}}} from '{MODULE_OF[kind]}';")
        typed.append(f"export const d{number}: I{number} = {literal};")
        checked.append(f"import {{{kind} as K{number}}} from '{MODULE_OF[kind]}';")
        checked.append(f"new K{number}({literal}).validate();")
    (packages / "checked.mjs").write_text("\n".join(checked))
    done = subprocess.run(["node", "checked.mjs"], cwd=packages, capture_output=True, text=True)
    return compiler_says(packages, "\n".join(typed)) + done.stderr


def test_every_resource_keeps_to_its_definition(packages: Path) -> None:
    assert {document["kind"] for document in resources()} == set(MODULE_OF)
    assert complaints(packages, resources()) == ""


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
def test_a_mistake_would_be_noticed(packages: Path, kind: str, change: dict[str, Any]) -> None:
    (right,) = (document for document in resources() if document["kind"] == kind)
    wrong = {**right, "spec": {**right["spec"], **change}}

    assert complaints(packages, [wrong]) != ""
