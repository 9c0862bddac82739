"""From a graph under construction to ONNX's own classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from r2ad2._version import __version__
from r2ad2.serving.onnx.graph import ML_DOMAIN, TYPES, Graph, Node, Tensor

if TYPE_CHECKING:
    import onnx

# Versions of the operators and of the file format: ONNX Runtime reads these from 1.12 (2022) on.
OPSET, ML_OPSET, IR_VERSION = 17, 3, 8


def as_proto(graph: Graph, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """Write what the outputs depend on as a model, with the metadata."""
    from onnx import helper, numpy_helper

    nodes = graph.used_nodes()
    used = {name for node in nodes for name in node.inputs}
    proto = helper.make_graph(
        [_node_proto(node) for node in nodes],
        "r2ad2",
        [_value_info(tensor) for tensor in graph.inputs],
        [_value_info(tensor) for tensor in graph.outputs],
        [
            numpy_helper.from_array(np.asarray(array, order="C"), name)
            for name, array in graph.constants.items()
            if name in used
        ],
    )
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML_DOMAIN, ML_OPSET)],
        ir_version=IR_VERSION,
        producer_name="r2ad2",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(metadata))
    return model


def _node_proto(node: Node) -> onnx.NodeProto:
    from onnx import helper, numpy_helper

    attributes = {
        name: _attribute(name, value, numpy_helper) for name, value in node.attributes.items()
    }
    return helper.make_node(
        node.operator,
        node.inputs,
        node.outputs,
        name=node.outputs[0],
        domain=node.domain,
        **attributes,
    )


def _attribute(name: str, value: Any, numpy_helper: Any) -> Any:
    if name.endswith("_as_tensor"):
        return numpy_helper.from_array(value, name)
    return value.tolist() if isinstance(value, np.ndarray) else value


def _value_info(tensor: Tensor) -> onnx.ValueInfoProto:
    from onnx import helper

    shape = ["batch" if size is None else size for size in tensor.shape]
    return helper.make_tensor_value_info(tensor.name, TYPES[tensor.dtype.name], shape)
