"""Peers: other servers that remove backgrounds, and this one, driven by the same client."""
