"""Refusal: why a file cannot become a model."""


class GraphRefused(Exception):
    """The file cannot become a model; the message gives the reason and, where there is one, the remedy."""
