"""JPEG scans: checks whether a file's scans contain the whole picture, and finds the end of its data.

A decoder trusts an end marker: a progressive file that is cut off between two scans, with an end marker
added, decodes without a warning to a coarser picture. This module therefore records the coefficients that
each scan contains. Sections are of ITU-T T.81.
"""

from dataclasses import dataclass, field

from app.imaging.formats.containers import MAX_SEGMENTS, Segment, jpeg_segments, next_marker

_SEQUENTIAL, _PROGRESSIVE = frozenset({0xC0, 0xC1}), 0xC2  # Huffman-coded; arithmetic data may end anywhere
_FRAMES = _SEQUENTIAL | {_PROGRESSIVE}
_SOI, EOI, _SOS, _DNL, _COM = 0xD8, 0xD9, 0xDA, 0xDC, 0xFE
_HARMLESS = frozenset({_DNL, _COM, *range(0xE0, 0xF0)})  # may occur between the last scan and the end
_COEFFICIENTS = 64
_UNSENT = -1


@dataclass(slots=True)
class Scans:
    """The bits that the scans read so far contain, coefficient by coefficient (G.1.1.1)."""

    is_sequential: bool = False
    _missing_bits: dict[int, list[int]] = field(default_factory=dict)

    def record(self, upload: bytes, segment: Segment) -> None:
        """Record a frame's or scan's segment and ignore any other; of several frames the first counts."""
        marker, payload = segment.name[0], upload[segment.start : min(segment.end, segment.start + 1024)]
        if marker in _FRAMES and not self._missing_bits:
            self.is_sequential = marker in _SEQUENTIAL
            numbers = payload[6 : 6 + 3 * payload[5] : 3] if len(payload) > 6 else b""
            self._missing_bits = {number: [_UNSENT] * _COEFFICIENTS for number in numbers}
        if marker == _SOS and payload:
            self._record_scan(payload)

    def _record_scan(self, payload: bytes) -> None:
        """Read a scan's header (B.2.3); its coefficient range has no meaning in a sequential frame."""
        count = payload[0]
        selection = payload[1 + 2 * count :]
        if len(selection) < 3:
            return
        first, last, low_bit = selection[0], selection[1], selection[2] & 15
        if self.is_sequential:
            first, last, low_bit = 0, _COEFFICIENTS - 1, 0
        for number in self._missing_bits.keys() & set(payload[1 : 1 + 2 * count : 2]):
            for coefficient in range(first, min(last + 1, _COEFFICIENTS)):
                self._missing_bits[number][coefficient] = low_bit

    @property
    def are_complete(self) -> bool:
        """Whether the scans contain every coefficient of every component, to its last bit."""
        return bool(self._missing_bits) and not any(map(any, self._missing_bits.values()))


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a picture's data.

    Attributes:
        position: After the last byte that may belong to the picture.
        is_marked: An end marker follows.
        has_all_scans: The last required scan has at least begun.
        is_followed: Segments that cannot belong to the picture follow, so its data is complete.
    """

    position: int
    is_marked: bool
    has_all_scans: bool
    is_followed: bool = False


def find_ending(upload: bytes) -> Ending:
    """Find the end of a JPEG's picture: its end marker, a segment after it, or the end of the file."""
    scans = Scans()
    for segment in jpeg_segments(upload):
        scans.record(upload, segment)
        if scans.are_complete:
            return _ending_after(upload, segment.end)
        if segment.name[0] == EOI:
            return Ending(segment.start, is_marked=True, has_all_scans=False)
    return Ending(len(upload), is_marked=False, has_all_scans=False)


def is_progressive(upload: bytes) -> bool:
    """Return whether a JPEG's frame is progressive and Huffman-coded."""
    markers = (segment.name[0] for segment in jpeg_segments(upload))
    return next((marker == _PROGRESSIVE for marker in markers if marker in _FRAMES), False)


def _ending_after(upload: bytes, position: int) -> Ending:
    """Find the ending after the header of the last scan that a picture requires."""
    is_followed = False
    for _ in range(MAX_SEGMENTS):
        found = next_marker(upload, position)
        if found is None:
            break
        marker, start = found
        if marker == EOI:
            return Ending(start, is_marked=True, has_all_scans=True)
        if marker not in _HARMLESS:
            is_followed = is_followed or marker != _SOI
            return Ending(start - 2, is_marked=False, has_all_scans=True, is_followed=is_followed)
        is_followed = True
        position = start + max(2, int.from_bytes(upload[start : start + 2], "big"))
    return Ending(len(upload), is_marked=False, has_all_scans=True, is_followed=is_followed)
