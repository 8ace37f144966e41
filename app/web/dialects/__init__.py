"""Dialects: other servers' HTTP, so that their clients need a new host name and nothing else."""
