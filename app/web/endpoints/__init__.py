"""Endpoints: the table of all endpoints, and a module for each API."""
