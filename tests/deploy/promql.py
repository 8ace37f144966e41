"""PromQL: the metrics that an expression names, by a parser that is not ours."""

import promql_parser as parser


def metrics_of(expression: str) -> set[str]:
    """Return the names of all metrics in an expression."""
    found: set[str] = set()
    waiting: list[object] = [parser.parse(expression)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, parser.VectorSelector):
            assert node.name is not None, expression
            found.add(node.name)
        for name in ("expr", "lhs", "rhs", "param", "vector_selector", "vs"):
            child = getattr(node, name, None)
            if child is not None and not isinstance(child, str | int | float):
                waiting.append(child)
        waiting += list(getattr(node, "args", None) or [])
    return found
