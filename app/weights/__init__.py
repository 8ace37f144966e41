"""Weights: published weights, pinned, fetched and verified; for commands, never for the service."""
