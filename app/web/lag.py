"""Lag: measures the delay of the event loop, which every client waits in addition to its own work."""

import asyncio

from prometheus_client import Histogram

from app.engine.clock import Clock

INTERVAL_S = 0.05


async def watch_lag(lag: Histogram, clock: Clock) -> None:
    """Sleep repeatedly, and record by how much each sleep was too long; runs until cancelled."""
    while True:
        started_s = clock.now_s()
        await asyncio.sleep(INTERVAL_S)
        lag.observe(max(0.0, clock.now_s() - started_s - INTERVAL_S))
