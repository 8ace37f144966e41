"""File formats: identifies, checks, decodes and encodes pictures."""
