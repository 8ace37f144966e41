"""Bits: the fields of a coded picture's headers, which begin and end within bytes."""

from app.errors import CorruptPicture

_MAX_BYTES = 256  # of a header: the fields that anybody asks for need 150 at most


class Bits:
    """The bits of a header, the highest of each byte first; ``broken`` is what is said where they end."""

    def __init__(self, header: bytes, broken: str) -> None:
        self._number = int.from_bytes(header[:_MAX_BYTES], "big")
        self._left = 8 * len(header[:_MAX_BYTES])
        self._broken = broken

    def take(self, count: int) -> int:
        """Read an unsigned number of so many bits."""
        self._left -= count
        if self._left < 0:
            raise CorruptPicture(self._broken)
        return self._number >> self._left & ((1 << count) - 1)

    def take_exp_golomb(self) -> int:
        """Read a number of variable length: as many zeros as there are bits after the first one."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)

    def skip_uvlc(self) -> None:
        """Skip AV1's number of variable length (4.10.3), which has no bits after 32 zeros."""
        zeros = 0
        while not self.take(1):
            zeros += 1
        if zeros < 32:
            self.take(zeros)
