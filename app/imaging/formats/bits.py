"""Bits: reads the fields of a coded picture's headers, which need not start or end at byte boundaries."""

from app.errors import CorruptPicture

_MAX_BYTES = 256  # of a header: the fields that are read need at most 150


class Bits:
    """The bits of a header, most significant first; ``message`` is the error text if they run out."""

    def __init__(self, header: bytes, message: str) -> None:
        self._number = int.from_bytes(header[:_MAX_BYTES], "big")
        self._remaining = 8 * len(header[:_MAX_BYTES])
        self._message = message

    def take(self, count: int) -> int:
        """Read an unsigned number of ``count`` bits.

        Raises:
            CorruptPicture: Fewer bits remain.
        """
        self._remaining -= count
        if self._remaining < 0:
            raise CorruptPicture(self._message)
        return self._number >> self._remaining & ((1 << count) - 1)

    def take_exp_golomb(self) -> int:
        """Read an exponential-Golomb number: n zeros, a one, and n more bits."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def skip_uvlc(self) -> None:
        """Skip AV1's variable-length number (4.10.3), which has no more bits after 32 zeros."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros < 32:
            self.take(zeros)
