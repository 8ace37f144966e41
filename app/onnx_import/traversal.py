"""Traversal: visits every node and every tensor of a model, in subgraphs and functions too."""

from collections.abc import Iterable, Iterator
from itertools import chain

import onnx
from onnx import TensorProto


def graphs_of(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph and those inside its nodes."""
    yield graph
    for node in all_nodes(graph.node):
        yield from _subgraphs(node)


def nodes_of(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Yield all nodes of a model."""
    yield from all_nodes(chain(model.graph.node, *(function.node for function in model.functions)))


def all_nodes(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Yield nodes and those in their subgraphs."""
    pending = list(nodes)
    while pending:
        node = pending.pop()
        yield node
        for graph in _subgraphs(node):
            pending.extend(graph.node)


def tensors_of(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Yield all tensors that a model stores."""
    nodes = list(nodes_of(model))
    graphs = [model.graph, *chain.from_iterable(_subgraphs(node) for node in nodes)]
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for attribute in chain.from_iterable(node.attribute for node in nodes):
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
            yield from (sparse.values, sparse.indices)


def _subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
