"""Benchmarks: scripts that reproduce every speed and quality claim of the documentation."""
