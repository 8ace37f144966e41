"""What the commands share: settings with the command line's say in them."""

from app.settings import Settings, read_settings


def settings_for(models: list[str] | None) -> Settings:
    """Read the settings; models named on the command line take the place of the environment's."""
    return read_settings(models=tuple(models)) if models else read_settings()
