"""Endpoints: the table of what is served, and a module for each API."""
