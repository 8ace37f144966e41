"""Batches: many pictures in one request, and their results in one response that begins while it arrives."""
