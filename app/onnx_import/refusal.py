"""Refusal: why a file cannot become a model, and why the runtime cannot run a graph."""


class GraphRefused(Exception):
    """The file cannot become a model; the message gives the reason and, where there is one, the remedy."""


class RunFailed(Exception):
    """The runtime cannot load or run a graph; the message is its reason."""
