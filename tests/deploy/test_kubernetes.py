"""The Kustomize overlays, rendered by kubectl and checked against four versions' schemas and our policy."""

import hashlib
import math
import shutil
import subprocess
from collections import deque
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import numpy as np
import pytest
import yaml

from app.engine.capacity.memory import for_uploads
from app.engine.models.manifest import read_manifest
from app.imaging.formats.sniff import Header
from app.options import CutoutOptions
from app.pipeline.footprint import footprint
from app.settings import Settings
from tests.deploy.promql import metrics_of
from tests.deploy.test_monitoring import exposed

pytestmark = pytest.mark.process
FOLDER = Path(__file__).parents[2] / "deploy/kubernetes/overlays"
OVERLAYS = ("cpu", "gpu", "keda", "volume", "monitoring")
SERVING = OVERLAYS[:-1]
VERSIONS = ("1.34", "1.35", "1.36", "1.37")
WARM_BYTES = 900 * 2**20  # u2net in memory and warm, and the process around it


@cache
def rendered(overlay: str) -> tuple[dict[str, Any], ...]:
    if shutil.which("kubectl") is None:
        pytest.skip("this machine has no kubectl")
    text = subprocess.run(
        ["kubectl", "kustomize", str(FOLDER / overlay)], capture_output=True, text=True, check=True
    ).stdout
    return tuple(yaml.safe_load_all(text))


def one(overlay: str, kind: str) -> dict[str, Any]:
    (match,) = (document for document in rendered(overlay) if document["kind"] == kind)
    return match


def container(overlay: str) -> dict[str, Any]:
    (only,) = one(overlay, "Deployment")["spec"]["template"]["spec"]["containers"]
    return dict(only)


def environment(overlay: str) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container(overlay)["env"] if "value" in each}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_matches_the_schema(overlay: str, version: str) -> None:
    checked = 0
    for document in rendered(overlay):
        if "." not in document["apiVersion"].split("/")[0] or "k8s.io" in document["apiVersion"]:
            kubernetes_validate.validate(document, version, strict=True)
            checked += 1
    assert checked or overlay == "monitoring"


def test_a_misspelt_member_is_detected() -> None:
    invalid = {**one("cpu", "Service"), "spce": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(invalid, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("overlay", SERVING)
def test_every_variable_is_a_setting(overlay: str) -> None:
    for name in (each["name"] for each in container(overlay)["env"]):
        kind: Any = Settings
        for part in name.removeprefix("CUTOUT_").lower().split("__"):
            assert part in kind.model_fields, name
            kind = kind.model_fields[part].annotation


@pytest.mark.parametrize("overlay", SERVING)
def test_probes_request_existing_paths_and_pods_have_time_to_drain(overlay: str) -> None:
    probes = {
        name: container(overlay)[f"{name}Probe"]["httpGet"]["path"]
        for name in ("startup", "readiness", "liveness")
    }
    pod = one(overlay, "Deployment")["spec"]["template"]["spec"]
    delay, timeout = (
        float(environment(overlay)[f"CUTOUT_LIFECYCLE__DRAIN_{name}_S"]) for name in ("DELAY", "TIMEOUT")
    )

    assert probes == {"startup": "/startupz", "readiness": "/readyz", "liveness": "/livez"}
    assert pod["terminationGracePeriodSeconds"] >= delay + timeout + 5
    readiness = container(overlay)["readinessProbe"]
    assert readiness["periodSeconds"] * readiness["failureThreshold"] <= delay + 1


@pytest.mark.parametrize("overlay", SERVING)
def test_the_memory_limit_covers_the_process_and_its_budget(overlay: str) -> None:
    resources = container(overlay)["resources"]
    photo = Header("jpeg", 5000, 4000, "image/jpeg")
    needed = footprint(photo, CutoutOptions(), limit_px=50_000_000)
    limit = int(resources["limits"]["memory"].removesuffix("Gi")) * 2**30
    budget = int(environment(overlay)["CUTOUT_MEMORY_BUDGET"])

    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert WARM_BYTES + budget <= limit
    assert needed.memory_bytes < budget - for_uploads(budget, Settings().limits.upload_bytes)


@pytest.mark.parametrize("overlay", SERVING)
def test_pods_cannot_run_as_root_write_files_or_open_connections(overlay: str) -> None:
    pod = one(overlay, "Deployment")["spec"]["template"]["spec"]
    context = container(overlay)["securityContext"]
    policy = one(overlay, "NetworkPolicy")["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert policy["egress"] == []


@pytest.mark.parametrize("overlay", SERVING)
def test_selectors_match_the_pods_and_services_use_existing_ports(overlay: str) -> None:
    labels = one(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"]
    names = {port["name"] for port in container(overlay)["ports"]}
    selectors = [
        one(overlay, "Service")["spec"]["selector"],
        one(overlay, "Deployment")["spec"]["selector"]["matchLabels"],
        one(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]

    assert all(selector and selector.items() <= labels.items() for selector in selectors)
    assert {port["targetPort"] for port in one(overlay, "Service")["spec"]["ports"]} <= names


def test_the_gpu_overlay_does_not_fall_back_to_the_cpu() -> None:
    assert environment("gpu")["CUTOUT_DEVICE"] == "cuda"
    assert container("gpu")["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_the_monitor_selects_the_service() -> None:
    monitor = one("monitoring", "ServiceMonitor")["spec"]
    service = one("cpu", "Service")

    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {e["port"] for e in monitor["endpoints"]} <= {p["name"] for p in service["spec"]["ports"]}


def test_keda_queries_an_existing_metric_and_alone_sets_the_replicas() -> None:
    scaled = one("keda", "ScaledObject")["spec"]
    (trigger,) = scaled["triggers"]

    assert metrics_of(trigger["metadata"]["query"]) <= exposed()
    assert scaled["scaleTargetRef"]["name"] == one("keda", "Deployment")["metadata"]["name"]
    assert "replicas" not in one("keda", "Deployment")["spec"]
    assert scaled["minReplicaCount"] >= 1


def test_models_on_a_volume_are_verified_before_the_start(models_dir: Path, tmp_path: Path) -> None:
    spec = one("volume", "Deployment")["spec"]["template"]["spec"]
    (verify,) = spec["initContainers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in verify["volumeMounts"]}
    expected = one("volume", "ConfigMap")["data"]["SHA256SUMS"]
    (tmp_path / "SHA256SUMS").write_text(expected.replace("u2net/", "u2netp/"))
    shutil.copytree(models_dir / "u2netp", tmp_path / "models/u2netp")
    graph = tmp_path / "models/u2netp/model.onnx"
    command = [word.replace(mounts["models-expected"], str(tmp_path)) for word in verify["command"]]

    assert verify["image"] == container("volume")["image"] == "cutout:cpu"
    assert verify["workingDir"] == mounts["models"] == "/srv/cutout/models"
    assert subprocess.run(command, cwd=tmp_path / "models", capture_output=True).returncode != 0
    (tmp_path / "SHA256SUMS").write_text(
        f"{hashlib.sha256(graph.read_bytes()).hexdigest()}  u2netp/model.onnx\n"
    )
    assert subprocess.run(command, cwd=tmp_path / "models", capture_output=True).returncode == 0
    graph.write_bytes(graph.read_bytes()[:-1])
    assert subprocess.run(command, cwd=tmp_path / "models", capture_output=True).returncode != 0


def test_the_expected_hash_of_the_volume_is_that_of_the_export(models_dir: Path) -> None:
    expected = one("volume", "ConfigMap")["data"]["SHA256SUMS"].split()

    assert expected == [read_manifest(models_dir / "u2net").sha256, "u2net/model.onnx"]


class Autoscaler:
    """The horizontal pod autoscaler's algorithm, with a manifest's parameters; called once per poll."""

    TOLERANCE = 0.1

    def __init__(self, scaled: dict[str, Any]) -> None:
        self._target = float(scaled["triggers"][0]["metadata"]["threshold"])
        self._bounds = scaled["minReplicaCount"], scaled["maxReplicaCount"]
        behavior = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        self._up, self._down = behavior["scaleUp"], behavior["scaleDown"]
        self._tick_s = scaled["pollingInterval"]
        self._desired: deque[tuple[float, int]] = deque()
        self._history: deque[tuple[float, int]] = deque()

    def decide(self, now_s: float, replicas: int, total: float) -> int:
        """Return the new number of replicas, given the sum of the metric over all replicas."""
        ratio = total / replicas / self._target
        desired = replicas if abs(ratio - 1) <= self.TOLERANCE else math.ceil(total / self._target)
        desired = min(max(desired, self._bounds[0]), self._bounds[1])
        self._history.append((now_s, replicas))
        self._desired.append((now_s, desired))
        if desired > replicas:
            return min(desired, max(self._limit(policy, now_s, 1) for policy in self._up["policies"]))
        window_s = self._down["stabilizationWindowSeconds"]
        steady = max(count for at_s, count in self._desired if now_s - at_s <= window_s)
        return max(min(steady, replicas), max(self._limit(p, now_s, -1) for p in self._down["policies"]))

    def _limit(self, policy: dict[str, Any], now_s: float, sign: int) -> int:
        before = next(n for at_s, n in self._history if now_s - at_s <= policy["periodSeconds"])
        change = before * policy["value"] / 100 if policy["type"] == "Percent" else policy["value"]
        return math.ceil(before + sign * change)


def saturation(demand: float, ready: int) -> float:
    """Return the metric of each server: its busy share of the time, times (1 + refused / accepted)."""
    each = demand / ready
    return min(each, 1.0) * (1 + max(0.0, each - 1))


def test_a_fourfold_demand_scales_one_replica_to_four_without_flapping() -> None:
    """During thirty minutes of demand with 8 % of noise; a server takes 20 s to become ready."""
    scaled = one("keda", "ScaledObject")["spec"]
    autoscaler, chance = Autoscaler(scaled), np.random.default_rng(0)
    replicas, ready_at, counts = 1, [0.0], []
    for tick in range(30 * 60 // scaled["pollingInterval"]):
        now_s = tick * scaled["pollingInterval"]
        demand = (0.65 if now_s < 120 else 2.6) * float(chance.uniform(0.92, 1.08))
        ready = max(1, sum(at <= now_s for at in ready_at))
        total = ready * saturation(demand, ready)
        desired = autoscaler.decide(now_s, replicas, total)
        ready_at = ready_at[:desired] + [now_s + 20] * max(0, desired - replicas)
        replicas = desired
        counts.append((now_s, replicas))

    assert {count for now_s, count in counts if now_s < 120} == {1}
    assert max(count for now_s, count in counts if now_s <= 180) >= 4
    settled = [count for now_s, count in counts if now_s > 180 + 300]
    assert set(settled) == {4}
