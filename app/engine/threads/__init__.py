"""Threads: worker pools, thread priorities and sandboxed child processes."""
