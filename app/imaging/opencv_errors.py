"""OpenCV's errors: reports a failed allocation as the ``MemoryError`` that it is."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import cv2

P = ParamSpec("P")
T = TypeVar("T")


def raises_memory_error(function: Callable[P, T]) -> Callable[P, T]:
    """Let a function raise ``MemoryError`` where OpenCV reports that it ran out of memory."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except cv2.error as error:
            if error.code == cv2.Error.StsNoMem:
                raise MemoryError from error
            raise

    return call
