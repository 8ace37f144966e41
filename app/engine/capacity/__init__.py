"""Capacity: limits, quotas, waiting times and caches."""
