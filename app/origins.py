"""Origins: parses the CORS origins of the settings into the form that browsers send."""

import re

_DEFAULT_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(
    r"(?P<bare>(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\]))(?::(?P<port>[0-9]{1,5}))?"
    r"|file://",  # the origin that Android's WebView sends for a page of the app
    re.IGNORECASE | re.ASCII,
)


def split_origins(text: str) -> tuple[str, ...]:
    """Return comma-separated origins as browsers send them: in lower case, without a default port.

    Raises:
        ValueError: One of them is not an origin (RFC 6454, 6.2); the message quotes it.
    """
    return tuple(_origin_of(each.strip()) for each in text.split(","))


def _origin_of(text: str) -> str:
    match = _ORIGIN.fullmatch(text)
    if text != "null" and match is None:
        raise ValueError(
            f"{text!r} is not an origin. Write scheme://host or scheme://host:port and nothing behind it, "
            "such as https://shop.example or capacitor://localhost, or null for pages that have none"
        )
    if match is None or not match["port"]:
        return text.lower()
    if int(match["port"]) > 65_535:
        raise ValueError(f"{text!r} has a port beyond 65535")
    is_default = _DEFAULT_PORTS.get(match["scheme"].lower()) == int(match["port"])
    return match["bare"].lower() if is_default else text.lower()
