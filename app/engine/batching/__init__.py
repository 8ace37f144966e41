"""Batching: decides which pictures run together, and runs them."""
