"""CSS: colours as people write them."""

import re

from PIL import ImageColor

_HEX = re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{4}|[0-9a-fA-F]{6}|[0-9a-fA-F]{8})")
_NAME = re.compile(r"[a-zA-Z]{3,32}")


def parse_colour(text: str) -> tuple[int, int, int, int]:
    """Read a CSS colour name, or a hex colour of 3, 4, 6 or 8 digits with or without ``#``.

    Returns:
        sRGB and alpha, each 0 to 255.

    Raises:
        ValueError: It is neither.
    """
    found = _HEX.fullmatch(text)
    if found is None and _NAME.fullmatch(text) is None:
        raise ValueError("not a colour")
    red, green, blue, *alpha = ImageColor.getrgb(text.lower() if found is None else f"#{found[1]}")
    return red, green, blue, alpha[0] if alpha else 255
