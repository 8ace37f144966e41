"""System errors: what the operating system refuses, in words for people instead of numbers and brackets."""


def sentence_of(error: Exception) -> str:
    """Return what an error says; of the system's own, the file that it is about and the reason."""
    reason = reason_of(error)
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {reason}"
    return reason


def reason_of(error: Exception) -> str:
    """Return what an error says; of the system's own, the reason alone."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return str(error)
