"""Requests: reads, limits and parses request bodies, and fetches pictures by URL."""
