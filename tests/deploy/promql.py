"""PromQL: finds the metrics in an expression, with an independent parser."""

import promql_parser as parser


def metrics_of(expression: str) -> set[str]:
    """Return the names of all metrics in an expression."""
    metrics: set[str] = set()
    nodes: list[object] = [parser.parse(expression)]
    while nodes:
        node = nodes.pop()
        if isinstance(node, parser.VectorSelector):
            assert node.name is not None, expression
            metrics.add(node.name)
        for name in ("expr", "lhs", "rhs", "param", "vector_selector", "vs"):
            child = getattr(node, name, None)
            if child is not None and not isinstance(child, str | int | float):
                nodes.append(child)
        nodes += list(getattr(node, "args", None) or [])
    return metrics
