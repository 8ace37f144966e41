"""A rolling update of a small cluster under load, with and without a drain delay."""

import argparse
import asyncio
from pathlib import Path

import pytest

from benchmarks.rolling import Rollout, add_arguments, roll
from tests.deploy.test_kubernetes import SERVING, environment
from tests.networks import hanging_model

pytestmark = [pytest.mark.journey, pytest.mark.slow]
DRAIN_DELAY_S = 2.0
LOAD = 0.3  # low, so that a starting server does not overload the others on the same cores


def rollout(models_dir: Path, *more: str) -> Rollout:
    hanging_model(models_dir, "bright")
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    arguments = ["--model", "bright", "--models-dir", str(models_dir), "--servers", "2", "--rounds", "1"]
    arguments += ["--load", str(LOAD), "--delay", str(DRAIN_DELAY_S)]
    return asyncio.run(roll(parser.parse_args([*arguments, *more])))


def test_nothing_is_lost_or_refused_while_every_server_is_replaced(tmp_path: Path) -> None:
    done = rollout(tmp_path)

    assert done.exit_codes == [0, 0]
    assert len(done.results) > 20
    assert (done.lost, done.refused, done.killed) == (0, 0, 0)


def test_without_a_drain_delay_requests_are_lost_or_refused(tmp_path: Path) -> None:
    done = rollout(tmp_path, "--drain-delay", "0")

    assert done.lost + done.refused > 0


@pytest.mark.parametrize("overlay", SERVING)
def test_the_manifests_have_a_drain_delay_of_ten_seconds(overlay: str) -> None:
    assert float(environment(overlay)["CUTOUT_LIFECYCLE__DRAIN_DELAY_S"]) >= 10
