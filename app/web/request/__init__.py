"""Requests: reads, bounds and parses request bodies, and fetches pictures by URL."""
