"""Pipeline: a picture's way from bytes to bytes, without HTTP."""
