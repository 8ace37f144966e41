"""Telemetry: the Prometheus metrics of the service."""

from app.telemetry.metrics import Step, Telemetry
from app.telemetry.steps import StepTimes

__all__ = ["Step", "StepTimes", "Telemetry"]
