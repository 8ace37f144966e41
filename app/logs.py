"""Logs: our lines, and those of the libraries, on stderr in one shape.

Light on purpose: the parent of a worker writes the same lines and imports nothing that serves.
"""

import logging
import sys
import threading
from types import TracebackType
from typing import Literal

import structlog

QUIETED = {
    "uvicorn": logging.WARNING,
    "httpx": logging.WARNING,
    "python_multipart": logging.ERROR,  # its warnings quote the upload
}


def configure_logs(log_format: Literal["auto", "json", "text"]) -> None:
    """Write one JSON object or one readable line an event; ``auto`` is text on a terminal."""
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
        logger_factory=lambda *_: structlog.WriteLogger(sys.stderr),  # what it is when the line is written
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )
    _join_libraries([*shared, structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last, render])


def log_what_breaks() -> None:
    """Write a line for what nobody catches: in the main thread and in any other."""
    log = structlog.get_logger("cutout.process")

    def broken(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        log.error("the process broke", exc_info=(kind, error, trace))

    def thread_broken(of: threading.ExceptHookArgs) -> None:
        if not issubclass(of.exc_type, SystemExit):
            name = None if of.thread is None else of.thread.name
            log.error("a thread broke", thread=name, exc_info=(of.exc_type, of.exc_value, of.exc_traceback))

    sys.excepthook = broken
    threading.excepthook = thread_broken


def _join_libraries(processors: list[structlog.typing.Processor]) -> None:
    """Give what libraries log through the standard module the same shape."""
    handler = logging.StreamHandler(sys.stderr)
    # A foreign record has no event of its own before the formatter gives it one.
    first, rest = processors[:3], processors[3:]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=first, processors=rest))
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for library, level in QUIETED.items():
        logging.getLogger(library).setLevel(level)
    logging.captureWarnings(capture=True)  # a library's warning is a log line too, not bare text between them
