"""Sandboxed decoder: decodes pictures in child processes, for operators who do not trust decoders.

A decoder is a million lines of C that parse untrusted bytes. In a sandbox
(``app/engine/threads/sandbox.py``) the worst it can do is to crash: the process can open no file and no
connection, and allocate no more memory than the largest picture needs. A picture that crashes two sandboxes
is refused for ten minutes. If a sandbox is killed from outside, the picture is decoded once more; if that one
is killed too, the request is refused with ``Overloaded``.

Run as ``python -m app.pipeline.sandboxed_decoder``, this module is the program in the sandbox.
"""

import codecs
import gc
import hashlib
import importlib.util
import os
import signal
import socket
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from app.engine.threads.sandbox import SandboxDied, SandboxLost, SandboxPool, SandboxTooSlow
from app.engine.threads.sandbox_messages import receive_message, send_message
from app.errors import CorruptPicture, CutoutError, Overloaded, PictureTooComplex
from app.imaging.formats.decode import Picture, decode
from app.imaging.formats.encode import encode
from app.imaging.formats.sniff import Header, sniff

# Pillow and this project import these within functions.
_IMPORTED_LATE = (
    *("PIL.TiffImagePlugin", "PIL.ImagePalette", "PIL.ImageColor", "PIL.ImageFilter"),
    "pillow_heif",
)
# Without -P a folder named app, where the server is started, would be taken for this package.
COMMAND = (sys.executable, "-P", "-m", __name__)
MAX_REMEMBERED = 4096
FORGOTTEN_AFTER_S = 600.0
"""Crashes are forgotten after this time: an updated decoder or a less busy machine may succeed."""
MAX_DEATHS = 2
MAX_LOSSES = 2
_BYTES_A_PIXEL = 28
"""Peak bytes per pixel of decoding, 16-bit samples included."""
_SPARE_BYTES = 512 * 2**20
_DOT_GIF = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
_ERRORS: Mapping[str, type[CutoutError]] = {"corrupt": CorruptPicture, "complex": PictureTooComplex}


@dataclass(eq=False)
class SandboxedDecoder:
    """Decodes like ``decode``, in a sandbox.

    Attributes:
        sandboxes: The child processes.
        limit_px: The most pixels of a picture.
    """

    sandboxes: SandboxPool
    limit_px: int
    _deaths: "OrderedDict[bytes, tuple[int, float]]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, upload: bytes, header: Header) -> Picture:
        """Decode the first frame of an upload to upright 8-bit sRGB.

        Raises:
            CorruptPicture: As ``decode``, or the picture has crashed two sandboxes.
            PictureTooComplex: As ``decode``, or decoding took too long.
            Overloaded: No sandbox is free, or two were killed from outside.
            MemoryError: The sandbox has too little memory.
        """
        digest = hashlib.sha256(upload).digest()
        losses = 0
        while self._deaths_by(digest) < MAX_DEATHS:
            try:
                return self._decode(upload, header)
            except SandboxLost as error:
                losses += 1
                if losses == MAX_LOSSES:
                    raise Overloaded("decoders") from error
            except SandboxDied:
                self._remember(digest, 1)
            except SandboxTooSlow as error:
                self._remember(digest, MAX_DEATHS)
                raise PictureTooComplex("The picture takes too long to decode. Save it anew.") from error
        raise CorruptPicture("The picture's data breaks its decoder. Save it anew.")

    def _decode(self, upload: bytes, header: Header) -> Picture:
        info = {
            "header": asdict(header),
            "limit_px": self.limit_px,
            "latest_s": 2 * self.sandboxes.timeout_s,
        }
        max_bytes = 4 * header.width_px * header.height_px
        message, buffers = self.sandboxes.call(info, upload, max_bytes=max_bytes)
        kind, text = message.get("error"), message.get("text")
        if kind == "memory":
            raise MemoryError
        if isinstance(kind, str) and kind in _ERRORS and isinstance(text, str):
            raise _ERRORS[kind](text)
        if kind is not None:
            raise RuntimeError("A decoder failed in its sandbox.")
        return _picture(message, buffers, header)

    def _deaths_by(self, digest: bytes) -> int:
        deaths, at_s = self._deaths.get(digest, (0, 0.0))
        return deaths if self.sandboxes.clock.now_s() - at_s < FORGOTTEN_AFTER_S else 0

    def _remember(self, digest: bytes, deaths: int) -> None:
        with self._lock:
            deaths += self._deaths_by(digest)
            self._deaths.pop(digest, None)
            self._deaths[digest] = deaths, self.sandboxes.clock.now_s()
            while len(self._deaths) > MAX_REMEMBERED:
                self._deaths.popitem(last=False)


def _picture(message: Mapping[str, object], buffers: list[bytearray], header: Header) -> Picture:
    """Build a picture from a sandbox's message, which is not trusted: its sizes and types are checked."""
    whole, warnings = (header.height_px, header.width_px), message.get("warnings")
    size = message.get("size", list(whole))
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) for side in size)):
        raise RuntimeError("A sandbox sent no size.")
    height, width = size
    fits = any(0 < height <= rows and 0 < width <= columns for rows, columns in (whole, whole[::-1]))
    if not isinstance(warnings, list) or len(buffers) not in (1, 2) or not fits:
        raise RuntimeError("A sandbox sent no picture.")
    rgb = np.frombuffer(buffers[0], np.uint8).reshape(height, width, 3)
    own_alpha = np.frombuffer(buffers[1], np.uint8).reshape(height, width) if len(buffers) == 2 else None
    return Picture(rgb, own_alpha, tuple(str(warning)[:64] for warning in warnings))


def main() -> None:
    """Decode pictures until the parent process ends."""
    channel = socket.socket(fileno=os.dup(0))
    limit_px = 0
    _warm_up()
    send_message(channel, {"ready": True})
    with suppress(EOFError, ConnectionError):
        while True:
            info, (upload,) = receive_message(channel, max_bytes=2**31)
            if limit_px == 0:
                limit_px = int(str(info["limit_px"]))
                _limit_this_process(limit_px)
            # If the parent is killed while decoding never ends, only the alarm ends this process.
            _set_alarm(float(str(info["latest_s"])))
            _decode_for_parent(channel, info, bytes(upload))
            _set_alarm(0)
            del upload
            gc.collect()


def _set_alarm(after_s: float) -> None:
    if hasattr(signal, "setitimer"):  # Windows has none
        signal.setitimer(signal.ITIMER_REAL, after_s)


def _decode_for_parent(channel: socket.socket, info: Mapping[str, object], upload: bytes) -> None:
    """Decode an upload, and send the picture or the error to the parent process."""
    fields = info["header"]
    assert isinstance(fields, dict)  # noqa: S101 - the parent sends nothing else
    header = Header(**fields)
    try:
        picture = decode(upload, header)
    except MemoryError:
        send_message(channel, {"error": "memory"})
    except (CorruptPicture, PictureTooComplex) as error:
        kind = next(kind for kind, leaf in _ERRORS.items() if isinstance(error, leaf))
        send_message(channel, {"error": kind, "text": str(error)})
    except Exception as error:  # noqa: BLE001 - the parent has the wall
        send_message(channel, {"error": type(error).__name__})
    else:
        size = picture.rgb.shape[:2]  # a picture may be turned, or cut to its clean aperture
        arrays = [np.ascontiguousarray(a).data for a in (picture.rgb, picture.own_alpha) if a is not None]
        send_message(channel, {"size": size, "warnings": picture.warnings}, *arrays)


def _warm_up() -> None:
    """Decode one picture of each format: nothing can be imported once files cannot be opened."""
    grey = np.zeros((2, 2), np.uint8)
    for name in ("png", "webp", "jpeg", "avif"):
        encoded = encode(grey, format=name, quality=90)
        decode(encoded, sniff(encoded))
    decode(_DOT_GIF, sniff(_DOT_GIF))
    for module in _IMPORTED_LATE:
        if importlib.util.find_spec(module):
            importlib.import_module(module)
    for encoding in ("ascii", "latin-1", "utf-16"):
        codecs.lookup(encoding)


def _limit_this_process(limit_px: int) -> None:
    """Limit this process: no descriptors, no files, no core dumps, no more memory than a picture needs."""
    try:
        import resource
    except ImportError:  # Windows has no such limits; there a sandbox only contains crashes
        return
    maximum = _memory_in_use() + _BYTES_A_PIXEL * limit_px + _SPARE_BYTES
    nothing = (resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE)
    for limit, value in {resource.RLIMIT_AS: maximum, **dict.fromkeys(nothing, 0)}.items():
        resource.setrlimit(limit, (value, value))


def _memory_in_use() -> int:
    """Return the address space of the process in bytes; half a gigabyte if it is unknown."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return 2**29
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
