"""Benchmarks: every speed and quality claim, measured again by anyone who asks."""
