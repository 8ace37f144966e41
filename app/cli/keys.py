"""``cutout keys``: generates a key and its entry in the keys file."""

from typing import Annotated

import typer

from app.web.api_keys import NAME, new_key


def new(
    name: Annotated[str, typer.Argument(help="Name of the key, for log lines: letters, digits, _ . -")],
) -> None:
    """Generate a key. It is shown once; the server stores only its SHA-256."""
    if not NAME.fullmatch(name):
        raise ValueError("the name of a key is 1 to 64 letters, digits, _ . -")
    key, digest = new_key()
    typer.echo("The key, for its owner (it is not shown again):", err=True)
    typer.echo(key)
    typer.echo("\nThe entry for the file of CUTOUT_ACCESS__KEYS_FILE:", err=True)
    typer.echo(
        f'\n[keys."{name}"]\nsha256 = "{digest}"\n# requests_per_minute = 60\n# megapixels_per_minute = 500'
    )
