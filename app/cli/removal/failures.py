"""Failures: describes why a picture failed, for every error that a run can meet."""

from pathlib import Path

from app.cli.removal.values import Problem, Rejected
from app.errors import CutoutError
from app.system_errors import reason_of


def describe(error: Exception, path: Path) -> Problem:
    """Return the problem of a picture that failed with ``error``; an unknown error is a bug, and named so."""
    if isinstance(error, Rejected):
        return error.problem
    if isinstance(error, FileExistsError):
        return Problem("file-exists", "The result exists", _with_file(error, path))
    if isinstance(error, OSError):
        return Problem("file-error", "A file cannot be used", _with_file(error, path))
    if isinstance(error, MemoryError):
        return Problem("out-of-memory", "Not enough memory", "The system refused memory for the picture.")
    if isinstance(error, CutoutError):
        return Problem("rejected", "The picture is refused", str(error))
    return Problem("internal-error", "Internal error", f"This is a bug: {type(error).__name__}: {error}")


def _with_file(error: OSError, source: Path) -> str:
    """Return the reason, with the file if it is another one than the picture."""
    is_other = error.filename is not None and str(error.filename) != str(source)
    return f"{error.filename}: {reason_of(error)}" if is_other else reason_of(error)
