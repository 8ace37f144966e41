"""Weights: fetches and verifies pinned published weights, for the command line, never for the service."""
