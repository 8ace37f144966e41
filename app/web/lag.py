"""Lag: how late the event loop is, which is how long every client waits for nothing."""

import asyncio

from prometheus_client import Histogram

from app.engine.clock import Clock

INTERVAL_S = 0.05


async def watch_lag(lag: Histogram, clock: Clock) -> None:
    """Sleep again and again, and observe by how much each sleep was too long; runs until cancelled."""
    while True:
        started_s = clock.now_s()
        await asyncio.sleep(INTERVAL_S)
        lag.observe(max(0.0, clock.now_s() - started_s - INTERVAL_S))
