"""Spelling: accepts the spellings of booleans and file formats that clients use."""

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
    """Return the boolean that a text spells, in upper or lower case; ``None`` if it spells none."""
    return TRUTHS.get(text.strip().lower())


def format_of(text: str) -> str:
    """Return the name of a file format, given its name, extension or media type.

    Any other text is returned in lower case.
    """
    name = text.strip().lower()
    return _FORMATS.get(name, name)
