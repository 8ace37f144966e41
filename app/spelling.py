"""Spelling: one choice, written in any of the ways that clients write it."""

from collections.abc import Mapping

TRUTHS: Mapping[str, bool] = {
    **dict.fromkeys(("true", "1", "yes", "on", "t", "y"), True),
    **dict.fromkeys(("false", "0", "no", "off", "f", "n"), False),
}
_FORMATS: Mapping[str, str] = {
    **{f"image/{name}": name for name in ("png", "webp", "jpeg", "avif")},
    **dict.fromkeys(("jpg", "image/jpg"), "jpeg"),
    "application/zip": "zip",
}


def truth_of(text: str) -> bool | None:
    """Return whether a text says yes or no, in letters of either case; ``None`` if it says neither."""
    return TRUTHS.get(text.strip().lower())


def format_of(text: str) -> str:
    """Return the name of a file format that is meant by a name, an extension or a media type.

    A text that is none of these comes back in small letters.
    """
    name = text.strip().lower()
    return _FORMATS.get(name, name)
