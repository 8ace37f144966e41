"""System errors: messages of the operating system's errors without numbers and brackets."""


def sentence_of(error: Exception) -> str:
    """Return an error's message; for an ``OSError`` with a file name, the file and the reason."""
    reason = reason_of(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {reason}"
    return reason


def reason_of(error: Exception) -> str:
    """Return an error's message; for an ``OSError``, the reason alone."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error)
