"""Telemetry: what the service says about itself in numbers."""

from app.telemetry.metrics import Step, Telemetry
from app.telemetry.steps import StepTimes

__all__ = ["Step", "StepTimes", "Telemetry"]
