"""``cutout keys``: make a key, and say what belongs into the file of keys."""

from typing import Annotated

import typer

from app.web.api_keys import NAME, new_key


def new(
    name: Annotated[str, typer.Argument(help="Whose key it is, for log lines: letters, digits, _ . -")],
) -> None:
    """Make a key. It is shown once; the server keeps only its SHA-256."""
    if not NAME.fullmatch(name):
        raise ValueError("a key's name is 1 to 64 letters, digits, _ . -")
    key, digest = new_key()
    typer.echo("The key, for its owner (it cannot be shown again):", err=True)
    typer.echo(key)
    typer.echo("\nFor the file that CUTOUT_ACCESS__KEYS_FILE names:", err=True)
    typer.echo(
        f'\n[keys."{name}"]\nsha256 = "{digest}"\n# requests_per_minute = 60\n# megapixels_per_minute = 500'
    )
