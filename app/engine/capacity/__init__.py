"""Capacity: admission, memory, quotas, wait estimates, idempotency keys and the cache."""
