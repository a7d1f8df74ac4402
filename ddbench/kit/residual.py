"""Taps that add the shortcut of a residual block and rectify the sum, found in a trace of the network.

A block ends with a norm, a sum and a rectifier. Taken together they read and write an activation half as often, forward and
backward; what they compute is the same bit for bit.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from ddbench.training.cpu_layers import has_hooks

if TYPE_CHECKING:
    from torch import Tensor

SUMS: set[Callable[..., Any] | str] = {operator.add, operator.iadd, torch.add, "add", "add_"}

RECTIFIERS: set[Callable[..., Any] | str] = {F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"}


def join_sums(network: nn.Module, tap: type[nn.Module], rectifier: type[nn.Module], images: Tensor) -> int:
    """Let taps take the shortcut as a second input and rectify, in place; return how many do.

    A network whose code cannot be traced stays as it is, as does one whose answers would change.

    Args:
        network: With taps for norms; its `forward` is replaced.
        tap: Their class.
        rectifier: Layers that rectify, beside `nn.ReLU`.
        images: (N, C, H, W), to be answered before and after.
    """
    try:
        graph = _Tracer(tap).trace(network)
    except Exception:  # noqa: BLE001 - code that decides by what it sees raises whatever it likes
        return 0
    layers = dict(network.named_modules())
    ends = [node for node in graph.nodes if _rectifies(node, layers, rectifier)]
    joined = sum(_join(graph, node, layers, tap) for node in ends)
    if joined:
        graph.lint()
        before = network(images)
        network.forward = MethodType(type(fx.GraphModule(network, graph)).forward, network)
        if not torch.equal(network(images), before):
            del network.forward
            return 0
    return joined


class _Tracer(fx.Tracer):
    """Sees taps and all layers without parts as one call each."""

    def __init__(self, tap: type[nn.Module]) -> None:
        super().__init__()
        self.tap = tap

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a layer is not looked into."""
        whole = isinstance(m, self.tap) or next(m.children(), None) is None
        return whole or super().is_leaf_module(m, module_qualified_name)


def _rectifies(node: fx.Node, layers: dict[str, nn.Module], rectifier: type[nn.Module]) -> bool:
    if node.op == "call_module":
        layer = layers[str(node.target)]
        return type(layer) in {nn.ReLU, rectifier} and not has_hooks(layer)
    return node.op in {"call_function", "call_method"} and node.target in RECTIFIERS and len(node.args) == 1


def _join(graph: fx.Graph, end: fx.Node, layers: dict[str, nn.Module], tap: type[nn.Module]) -> bool:
    """Let the tap before a sum that `end` rectifies do all three; return whether there is one that nothing else reads."""
    total = end.args[0]
    plain = isinstance(total, fx.Node) and total.op in {"call_function", "call_method"} and total.target in SUMS
    if not isinstance(total, fx.Node) or not plain or len(total.args) != 2 or total.kwargs or len(total.users) > 1:
        return False
    for node, other in (total.args, total.args[::-1]):
        if not isinstance(node, fx.Node) or not isinstance(other, fx.Node) or node is other:
            continue
        if node.op == "call_module" and isinstance(layers[str(node.target)], tap) and len(node.users) == 1:
            with graph.inserting_before(end):
                joined = graph.call_module(str(node.target), (*node.args, other))
            end.replace_all_uses_with(joined)
            for gone in (end, total, node):
                graph.erase_node(gone)
            return True
    return False
