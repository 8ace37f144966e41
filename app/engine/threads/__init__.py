"""Threads: worker pools, priorities and sandboxed child processes."""
