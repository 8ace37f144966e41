"""Form: the options of a batch, once for all pictures and by name.

    options   a JSON object: options of all pictures; each may also be a field or a part of the query
    items     a JSON object: the options of single pictures, by name
    skip      a JSON list, or a field for each: names of pictures whose results the client already has
    background  a picture to put behind all subjects

``results`` may also be ``mask``: then the picture's options and result are those of ``/v1/mask``.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import cast

from app.errors import InvalidOption, MalformedRequest
from app.imaging.formats.sniff import begins_picture
from app.options import CutoutOptions, MaskOptions
from app.pipeline.values import ImageRequest
from app.web.endpoints.v1_parser import cutout_request_of, mask_request_of
from app.web.request.envelope import BACKDROP_FIELD, MASK_FIELDS, MAX_FIELD_BYTES, Envelope
from app.web.request.json_body import read_json
from app.web.request.texts import read_text

OPTIONS_FIELD, ITEMS_FIELD, SKIP_FIELD, RESULTS = "options", "items", "skip", "results"
MASK_RESULT = "mask"


class BatchForm:
    """The options of one batch.

    Args:
        query: The query of the request.

    Raises:
        MalformedRequest: A field cannot be read.
        InvalidOption: A batch has no such field.
    """

    def __init__(self, query: Iterable[tuple[str, str]]) -> None:
        self._fields: dict[str, object] = {}
        self._options: dict[str, object] = {}
        self._items: dict[str, dict[str, object]] = {}
        self._skip: frozenset[str] = frozenset()
        self._backdrop: bytes | None = None
        self._used: set[str] = set()
        for name, value in query:
            self.add(name, value.encode())
        self._in_query, self._fields = self._fields, {}

    def add(self, name: str, value: bytes) -> None:
        """Add one field of the form.

        Raises:
            MalformedRequest: It cannot be read, or is given twice with different values.
            InvalidOption: A batch has no such field.
        """
        if not value.strip():
            return  # an empty field counts as absent
        if name == OPTIONS_FIELD:
            self._options = self._options | read_json(value)
        elif name == ITEMS_FIELD:
            self._items.update(_objects_in(value))
        elif name == SKIP_FIELD:
            self._skip = self._skip | _names_in(value)
        elif name == BACKDROP_FIELD and begins_picture(value):
            self._backdrop = value
        elif name in MASK_FIELDS:
            raise InvalidOption(name, "none, in a batch")
        else:
            if len(value) > MAX_FIELD_BYTES:
                raise MalformedRequest(f"An option is longer than {MAX_FIELD_BYTES} bytes.")
            self._add_option(name, read_text(value, "An option"))

    def check(self) -> None:
        """Check the options of all pictures, before the first picture.

        Raises:
            UnknownOption, InvalidOption: One of them is invalid.
        """
        self._request(b"", {})

    def skips(self, name: str) -> bool:
        """Return whether the client already has the result of a picture."""
        return name in self._skip

    def request_for(self, name: str, upload: bytes) -> ImageRequest:
        """Return the request for one picture.

        Raises:
            UnknownOption, InvalidOption: The options of this picture are invalid.
        """
        self._used.add(name)
        return self._request(upload, self._items.get(name, {}))

    @property
    def held_bytes(self) -> int:
        """The size of the background picture, which is kept for the whole batch."""
        return len(self._backdrop or b"")

    def unused_names(self) -> list[str]:
        """Return the names in ``items`` for which no picture came."""
        return [name for name in self._items if name not in self._used and name not in self._skip]

    def digest(self) -> str:
        """Return what identifies a repeated batch, without ``skip``: a retry has more names."""
        chosen = json.dumps([self._common, self._items], sort_keys=True, default=str)
        return hashlib.sha256(b"batch" + chosen.encode() + (self._backdrop or b"")).hexdigest()

    def _request(self, upload: bytes, own: Mapping[str, object]) -> ImageRequest:
        common = self._common
        is_mask = {**common, **own}.get(RESULTS) == MASK_RESULT
        if is_mask is not (common.get(RESULTS) == MASK_RESULT):  # this picture has the other kind of result
            kind = MaskOptions if is_mask else CutoutOptions
            common = {name: value for name, value in common.items() if name in kind.model_fields}
        options = {**common, **own}
        typed = (self._options.keys() - self._fields.keys()) | own.keys()
        if is_mask:
            options.pop(RESULTS)
        _check_names(options, is_mask=is_mask)
        envelope = Envelope(
            upload, backdrop=None if is_mask else self._backdrop, options=options, typed=frozenset(typed)
        )
        return mask_request_of(envelope) if is_mask else cutout_request_of(envelope)

    @property
    def _common(self) -> dict[str, object]:
        """The options of all pictures: fields override ``options``, and both override the query."""
        return self._in_query | self._options | self._fields

    def _add_option(self, name: str, value: object) -> None:
        if name in self._fields and self._fields[name] != value:
            raise MalformedRequest("An option is given more than once, with different values.")
        self._fields[name] = value


def _check_names(options: Iterable[str], *, is_mask: bool) -> None:
    """Refuse options that only the other kind of result has."""
    kind, other = (MaskOptions, CutoutOptions) if is_mask else (CutoutOptions, MaskOptions)
    for name in options:
        if name in MASK_FIELDS:
            raise InvalidOption(name, "none, in a batch")
        if name in other.model_fields and name not in kind.model_fields:
            raise InvalidOption(name, f"none, {'with' if is_mask else 'without'} {RESULTS}={MASK_RESULT}")


def _objects_in(value: bytes) -> dict[str, dict[str, object]]:
    objects = read_json(value)
    if not all(isinstance(options, dict) for options in objects.values()):
        raise MalformedRequest(f"The field {ITEMS_FIELD} is no JSON object of objects of options by name.")
    return cast("dict[str, dict[str, object]]", objects)


def _names_in(value: bytes) -> frozenset[str]:
    """Return the names in a JSON list, or the one name that the field is."""
    if not (value.startswith(b"[") and value.rstrip().endswith(b"]")):
        return frozenset({read_text(value, "A name")})
    names = read_json(b'{"names":' + value + b"}").get("names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise MalformedRequest(f"The field {SKIP_FIELD} is no JSON list of names.")
    return frozenset(names)
