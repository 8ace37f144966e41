"""Page controls: the controls of the playground's form, as an HTML parser reads them."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

PAGE = Path(__file__).parents[1] / "app" / "web" / "page"


@dataclass
class Control:
    """One named control.

    Attributes:
        kind: The ``type`` of an input, or ``select``.
        attributes: Those of the element.
        choices: The values of a select or of radio buttons.
        default: The value that is chosen at first; empty without one.
    """

    kind: str
    attributes: dict[str, str]
    choices: list[str] = field(default_factory=list)
    default: str = ""


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.controls: dict[str, Control] = {}
        self._select: Control | None = None
        self._option: tuple[dict[str, str], str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "option":
            self._close_option()
            self._option = (attributes, "")
        name = attributes.get("name")
        if name is None or tag not in ("input", "select"):
            return
        kind = "select" if tag == "select" else attributes.get("type", "text")
        control = self.controls.setdefault(name, Control(kind, attributes))
        if tag == "select":
            self._select = control
        elif kind == "radio":
            control.choices.append(attributes["value"])
            if "checked" in attributes:
                control.default = attributes["value"]
        elif kind == "checkbox":
            control.default = attributes["value"] if "checked" in attributes else "false"
        else:
            control.default = attributes.get("value", "")

    def handle_data(self, data: str) -> None:
        if self._option is not None:
            self._option = (self._option[0], self._option[1] + data)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("option", "select"):
            self._close_option()
        if tag == "select":
            self._select = None

    def _close_option(self) -> None:
        if self._option is not None and self._select is not None:
            attributes, text = self._option
            value = attributes.get("value", text.strip())
            self._select.choices.append(value)
            if "selected" in attributes:
                self._select.default = value
        self._option = None


def read_controls() -> dict[str, Control]:
    """Return the named controls of the page by name."""
    reader = _Reader()
    reader.feed((PAGE / "index.html").read_text(encoding="utf-8"))
    return reader.controls
