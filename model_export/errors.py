"""Errors: the base class of errors that end a command for a known reason."""


class CommandFailed(Exception):
    """A command failed; the message is for the user."""
