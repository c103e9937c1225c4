"""A model's graph, rewritten so that each weight has one use, and stands beside the operator that it is for."""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

_LAYOUT = ("Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze")


class Graph:
    """Nodes in the order of evaluation, and constants by name; the same function as the model's own graph."""

    def __init__(self, model: ModelProto) -> None:
        self.model = model
        self.constants: dict[str, NDArray[Any]] = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self.nodes: list[NodeProto] = []
        for node in model.graph.node:
            self._take(node)
        self._one_use_each()
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                self.consumers[name].append(node)
        self.order = {id(node): place for place, node in enumerate(self.nodes)}
        given = set(self.constants)
        self.inputs = [one for one in model.graph.input if one.name not in given]

    def attribute(self, node: NodeProto, name: str, default: Any = None) -> Any:
        """The value of a node's attribute."""
        return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)

    def weight_of(self, node: NodeProto) -> tuple[int, NDArray[Any]] | None:
        """Place and value of the floating constant among a node's first two inputs, where it is one only."""
        found = [(i, self.constants[name]) for i, name in enumerate(node.input[:2]) if self.is_weight(name)]
        return found[0] if len(found) == 1 else None

    def is_weight(self, name: str) -> bool:
        """Whether a name is that of a floating constant of more than one number."""
        return name in self.constants and self.constants[name].dtype.kind == "f" and self.constants[name].size > 1

    def with_weights(self, weights: dict[str, NDArray[Any]], taps: list[str]) -> bytes:
        """The model with other constants, which also shows the values named, for ONNX Runtime."""
        model = ModelProto()
        model.CopyFrom(self._without_graph())
        graph = model.graph
        graph.name = "vit"
        graph.input.extend(self.inputs)
        graph.output.extend(self.model.graph.output)
        shown = {one.name for one in graph.output}
        graph.output.extend(
            helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(taps) if name not in shown
        )
        graph.node.extend(self.nodes)
        for name, value in {**self.constants, **weights}.items():
            graph.initializer.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return model.SerializeToString()

    def _without_graph(self) -> ModelProto:
        return helper.make_model(
            helper.make_graph([], "", [], []), opset_imports=self.model.opset_import, ir_version=self.model.ir_version
        )

    def _take(self, node: NodeProto) -> None:
        """A node; one that only arranges a constant anew is done here."""
        if node.op_type == "Constant":
            self.constants[node.output[0]] = self._value(node)
        elif node.op_type in _LAYOUT and all(name in self.constants for name in node.input if name):
            self.constants[node.output[0]] = self._arranged(node)
        else:
            self.nodes.append(node)

    def _value(self, node: NodeProto) -> NDArray[Any]:
        (attribute,) = node.attribute
        value = helper.get_attribute_value(attribute)
        if attribute.name == "value":
            return numpy_helper.to_array(value)
        return np.array(value, np.float32 if "float" in attribute.name else np.int64)

    def _arranged(self, node: NodeProto) -> NDArray[Any]:
        value, *more = (self.constants[name] for name in node.input if name)
        match node.op_type:
            case "Transpose":
                return value.transpose(self.attribute(node, "perm"))
            case "Reshape":
                return value.reshape([value.shape[i] if s == 0 else int(s) for i, s in enumerate(more[0])])
            case "Squeeze" if more:
                return value.squeeze(tuple(int(axis) for axis in more[0]))
            case "Squeeze":
                return value.squeeze()
            case "Unsqueeze":
                return np.expand_dims(value, tuple(int(axis) for axis in more[0]))
            case _:
                return value

    def _one_use_each(self) -> None:
        """Exporters keep equal weights once; other weights need not be equal."""
        used: set[str] = set()
        for number, node in enumerate(self.nodes):
            for place, name in enumerate(node.input):
                if self.is_weight(name) and name in used:
                    copy = f"{name}/{number}.{place}"
                    self.constants[copy] = self.constants[name]
                    node.input[place] = copy
                used.add(name)
