"""Options: reads the settings, with the options of the command line applied."""

from app.settings import Settings, read_settings


def settings_for(models: list[str] | None) -> Settings:
    """Read the settings; models of the command line override those of the environment."""
    return read_settings(models=tuple(models)) if models else read_settings()
