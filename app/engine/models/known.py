"""Known models: names that clients of rembg ask for, and how an operator gets a model of that name."""

CATALOGUE = (
    "u2net",
    "u2netp",
    "u2net_human_seg",
    "silueta",
    "isnet-general-use",
    "isnet-anime",
    "birefnet-general-lite",
    "birefnet-general",
    "modnet",
)
"""Models that ``cutout models add NAME`` fetches."""
OWN = ("lite",)
"""Models that were trained in this project; ``make export MODEL=NAME`` makes them, in a checkout."""
FROM_FILES = (
    "birefnet-portrait",
    "birefnet-dis",
    "birefnet-hrsod",
    "birefnet-cod",
    "birefnet-massive",
    "bria-rmbg",
    "ben2-base",
)
"""Models of rembg that are in no catalogue here: the operator needs their file."""


def how_to_add(name: str) -> str:
    """Return a sentence with the command that adds a model; empty if the name is not known."""
    if name in CATALOGUE:
        return f"The operator can add it: cutout models add {name}"
    if name in OWN:
        return f"The operator can make it, in a checkout: make export MODEL={name}"
    if name in FROM_FILES:
        return f"The operator can add it from its file: cutout models add {name}.onnx"
    return ""
