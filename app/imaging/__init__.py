"""Imaging: arrays and bytes in, arrays and bytes out; no clock, no settings, no globals."""
