"""Pipeline: turns the bytes of a picture into the bytes of a result, without HTTP."""
