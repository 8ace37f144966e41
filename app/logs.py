"""Logs: writes the service's and its libraries' log lines to stderr, in one format.

Light on purpose: the supervisor process writes the same lines, and imports no web framework or runtime.
"""

import contextlib
import logging
import sys
import threading
from types import TracebackType
from typing import Literal, TextIO, cast

import structlog

QUIETED = {
    "uvicorn": logging.WARNING,
    "httpx": logging.WARNING,
    "python_multipart": logging.ERROR,  # its warnings quote the upload
}


class _Stderr:
    """The current stderr; a line that cannot be written is lost, and what logs it goes on."""

    def write(self, text: str) -> None:
        """Write a text."""
        with contextlib.suppress(OSError, ValueError):  # a full disk, a closed pipe, a closed file
            sys.stderr.write(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


_STREAM = cast("TextIO", _Stderr())


def configure_logs(log_format: Literal["auto", "json", "text"]) -> None:
    """Write one JSON object or one line of text per event; ``auto`` is text on a terminal."""
    is_json = log_format == "json" or (log_format == "auto" and not sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    render: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if is_json else structlog.dev.ConsoleRenderer()
    )
    last = [structlog.processors.format_exc_info] if is_json else []
    structlog.configure(
        processors=[*shared, *last, render],
        logger_factory=lambda *_: structlog.WriteLogger(_STREAM),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    _format_library_logs([*shared, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, render])


def log_what_breaks() -> None:
    """Log uncaught exceptions, in the main thread and in all others."""
    log = structlog.get_logger("cutout.process")

    def log_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.error("the process broke", exc_info=(kind, error, trace))

    def log_uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, SystemExit):
            name = None if args.thread is None else args.thread.name
            exc_info = (args.exc_type, args.exc_value, args.exc_traceback)
            log.error("a thread broke", thread=name, exc_info=exc_info)

    sys.excepthook = log_uncaught
    threading.excepthook = log_uncaught_in_thread


def _format_library_logs(processors: list[structlog.typing.Processor]) -> None:
    """Give the log records of libraries, which use the standard module, the same format."""
    handler = logging.StreamHandler(sys.stderr)
    # A library's record has no structlog event until the formatter adds one.
    first, rest = processors[:3], processors[3:]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=first, processors=rest))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for library, level in QUIETED.items():
        logging.getLogger(library).setLevel(level)
    logging.captureWarnings(capture=True)  # otherwise warnings are printed as bare text between the lines
