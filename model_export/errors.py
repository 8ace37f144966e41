"""Errors: the root of everything that ends a command for a reason we know."""


class CommandFailed(Exception):
    """A command cannot be carried out; the message is for whoever gave it."""
