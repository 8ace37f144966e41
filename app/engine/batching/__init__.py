"""Batching: chooses the pictures of each run, and executes the runs."""
