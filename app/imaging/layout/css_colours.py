"""CSS colours: parses colour names and hex colours."""

import re

from PIL import ImageColor

_HEX = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_NAME = re.compile(r"[a-zA-Z]{3,32}")


def parse_colour(text: str) -> tuple[int, int, int, int]:
    """Parse a CSS colour name, or a hex colour of 3, 4, 6 or 8 digits with or without ``#``.

    Returns:
        sRGB and alpha, each 0 to 255.

    Raises:
        ValueError: The text is neither.
    """
    hex_match = _HEX.fullmatch(text)
    if hex_match is None and _NAME.fullmatch(text) is None:
        raise ValueError("not a colour")
    red, green, blue, *alpha = ImageColor.getrgb(text.lower() if hex_match is None else f"#{hex_match[1]}")
    return red, green, blue, alpha[0] if alpha else 255
