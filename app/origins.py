"""Origins: whose web pages may read answers, as an operator names them and as browsers send them."""

import re

_USUAL_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(
    r"(?P<bare>(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[a-z0-9._-]+|\[[0-9a-f:.]+\]))(?::(?P<port>[0-9]{1,5}))?"
    r"|file://",  # what Android's WebView calls a page of the app
    re.IGNORECASE | re.ASCII,
)


def split_origins(text: str) -> tuple[str, ...]:
    """Return comma-separated origins as browsers send them: in small letters, without a port that is usual.

    Raises:
        ValueError: One of them is no origin (RFC 6454, 6.2); the message names it.
    """
    return tuple(_origin_of(each.strip()) for each in text.split(","))


def _origin_of(text: str) -> str:
    found = _ORIGIN.fullmatch(text)
    if text != "null" and found is None:
        raise ValueError(
            f"{text!r} is not an origin. Write scheme://host or scheme://host:port and nothing behind it, "
            "such as https://shop.example or capacitor://localhost, or null for pages that have none"
        )
    if found is None or not found["port"]:
        return text.lower()
    if int(found["port"]) > 65_535:
        raise ValueError(f"{text!r} has a port beyond 65535")
    is_usual = _USUAL_PORTS.get(found["scheme"].lower()) == int(found["port"])
    return found["bare"].lower() if is_usual else text.lower()
