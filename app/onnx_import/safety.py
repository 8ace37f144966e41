"""Safety: refuses graphs that could do more than compute a map from a picture.

ONNX Runtime runs whatever a graph contains, so the operators are checked against lists before the first run.
A loop is refused because its length may depend on the picture: a run that never ends would block a server.
"""

from collections.abc import Iterable

import onnx
from onnx import TensorProto, inliner
from onnx.checker import ValidationError

from app.onnx_import.refusal import GraphRefused
from app.onnx_import.traversal import all_nodes, graphs_of, nodes_of, tensors_of

MAX_NODES = 200_000
STANDARD = ("", "ai.onnx")
RUNTIME = "com.microsoft"
RUNTIME_OPERATORS = frozenset(
    {"QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearSoftmax", "QLinearConcat"}
    | {"QLinearAveragePool", "QLinearGlobalAveragePool", "QLinearWhere", "QLinearReduceMean", "QLinearConv"}
    | {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits"}
    | {"FusedConv", "FusedMatMul", "FusedGemm", "Gelu", "FastGelu", "BiasGelu", "QuickGelu", "BiasAdd"}
    | {"SkipLayerNormalization", "SimplifiedLayerNormalization", "Attention", "MultiHeadAttention"}
    | {"NhwcMaxPool", "NhwcConv", "NhwcFusedConv", "GroupNorm", "SkipGroupNorm", "QAttention"}
)
"""Operators of the runtime's own domain that quantisers and optimisers write; all of them only compute."""
REFUSED = {
    "Loop": "a loop, whose runs might never end",
    "Scan": "a loop, whose runs might never end",
    **dict.fromkeys(
        (
            "RandomNormal",
            "RandomNormalLike",
            "RandomUniform",
            "RandomUniformLike",
            "Multinomial",
            "Bernoulli",
        ),
        "random numbers, so its maps would change from run to run",
    ),
    **dict.fromkeys(
        ("StringNormalizer", "StringConcat", "StringSplit", "RegexFullMatch", "TfIdfVectorizer"),
        "operators on text, so it is no network of pictures",
    ),
    "ImageDecoder": "a decoder of picture files, which the service has itself",
}


def require_safe(model: onnx.ModelProto) -> onnx.ModelProto:
    """Check a model's operators and tensors, and return it without functions.

    Raises:
        GraphRefused: It has operators or tensors that are not served, or too many nodes.
    """
    if model.functions:
        model = _inlined(model)
    _require_text(model)
    nodes = list(nodes_of(model))
    if len(nodes) > MAX_NODES:
        raise GraphRefused(f"The graph has {len(nodes):,} nodes; at most {MAX_NODES:,} are imported.")
    for node in nodes:
        _require_known(node)
    if any(tensor.data_type == TensorProto.STRING for tensor in tensors_of(model)):
        raise GraphRefused("The graph stores text, so it is no network of pictures.")
    used = {node.domain for node in nodes}
    kept = [each for each in model.opset_import if each.domain in used | set(STANDARD)]
    del model.opset_import[:]
    model.opset_import.extend(kept)
    if model.graph.sparse_initializer:
        raise GraphRefused("The graph stores sparse tensors. Export it with dense ones.")
    return model


def _require_text(model: onnx.ModelProto) -> None:
    """Check that all names are text: protobuf returns others as bytes."""
    for graph in graphs_of(model.graph):
        named = (*graph.node, *graph.input, *graph.output, *graph.initializer, *graph.value_info)
        names = [each.name for each in named]
        names += [name for node in graph.node for name in (*node.input, *node.output)]
        if not all(type(name) is str for name in names):
            raise GraphRefused("The file has a name that is not UTF-8 text; it may be damaged.")


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with its functions written out."""
    _require_small(model)
    try:
        inlined: onnx.ModelProto = inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, ValidationError) as error:
        raise GraphRefused(f"The graph's functions are malformed: {' '.join(str(error).split())}") from error
    left = {(function.domain, function.name) for function in inlined.functions}
    if called := sorted(left & {(node.domain, node.op_type) for node in all_nodes(inlined.graph.node)}):
        raise GraphRefused(
            f"The graph's function {called[0][1]!r} is written for another opset than the graph. Export the "
            "network again with one opset, or without functions."
        )
    del inlined.functions[:]
    return inlined


def _require_known(node: onnx.NodeProto) -> None:
    if node.domain == RUNTIME:
        if node.op_type not in RUNTIME_OPERATORS:
            raise GraphRefused(f"The graph uses {RUNTIME}.{node.op_type}, which is not served.")
    elif node.domain not in STANDARD:
        raise GraphRefused(
            f"The graph uses the operator {node.op_type} of the domain {node.domain!r}. Custom operators "
            "run code of their own, so only ONNX's operators are served; export the network without it."
        )
    elif node.op_type in REFUSED:
        raise GraphRefused(f"The graph has {REFUSED[node.op_type]} ({node.op_type}).")


def _require_small(model: onnx.ModelProto) -> None:
    """Count the nodes that inlining would make, without making them: functions may call each other."""
    functions = {(function.domain, function.name): function for function in model.functions}
    sizes: dict[tuple[str, str], int] = {}
    open_calls: set[tuple[str, str]] = set()

    def size_of(nodes: Iterable[onnx.NodeProto]) -> int:
        return sum(call_size((node.domain, node.op_type)) for node in nodes)

    def call_size(key: tuple[str, str]) -> int:
        if key not in functions:
            return 1
        if key in open_calls or len(open_calls) > 50:
            raise GraphRefused(
                f"The graph's function {key[1]!r} calls itself, or calls are nested too deeply."
            )
        if key not in sizes:
            open_calls.add(key)
            sizes[key] = size_of(all_nodes(functions[key].node))
            open_calls.discard(key)
        return sizes[key]

    if (total := size_of(all_nodes(model.graph.node))) > MAX_NODES:
        raise GraphRefused(f"The graph has {total:,} nodes; at most {MAX_NODES:,} are imported.")
