"""LSTMs over a short sequence of fixed length, one step after the other.

i, f, c, o = x W + h U + b          the four gates
carry      = s(f) carry + s(i) tanh(c)
h          = s(o) tanh(carry)
"""

from __future__ import annotations

import keras
import numpy as np

from r2ad2.networks.alarm import UnrolledLSTM
from r2ad2.serving.onnx.activations import find_activation
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import Call, Converter, not_exportable, register_converter


@register_converter(UnrolledLSTM, keras.layers.LSTM)
class LSTMConverter(Converter):
    """The states of all steps, or the last one."""

    def activation(self, layer: keras.layers.LSTM) -> None:
        """Return None: the activations act inside a step."""

    def forward(self, call: Call) -> Tensor:
        """Write the steps; the inputs of all of them share one matrix product."""
        layer, graph = call.layer, call.graph
        if layer.go_backwards or layer.stateful or not layer.use_bias:
            raise not_exportable(layer, "it runs backwards, keeps its state, or has no bias")
        cell, units = layer.cell, layer.units
        n_steps, _ = call.input.sample_shape
        gate = find_activation(layer, cell.recurrent_activation).forward
        squash = find_activation(layer, cell.activation).forward
        cells = Call(graph, [part.cell for part in call.layers], call.inputs)
        projected = call.input @ cells.array("kernel") + cells.array("bias")
        recurrent = graph.constant(cells.array("recurrent_kernel"))
        states: list[Tensor] = []
        carry: Tensor | None = None
        for step in range(n_steps):
            gates = projected.gather(np.array(step), 1)
            if states:
                gates = gates + states[-1] @ recurrent
            enter, forget, candidate, leave = (
                _slice(gates, k * units, (k + 1) * units) for k in range(4)
            )
            new = gate(enter) * squash(candidate)
            carry = new if carry is None else new + gate(forget) * carry
            states.append(gate(leave) * squash(carry))
        if not layer.return_sequences:
            return states[-1]
        return graph.concat([state.reshape((1, units)) for state in states], axis=1)


def _slice(values: Tensor, start: int, end: int) -> Tensor:
    graph = values.graph
    limits = [graph.constant(np.array([number], np.int64)) for number in (start, end, -1)]
    shape = (*values.shape[:-1], end - start)
    return graph.add("Slice", (values, *limits), shape, values.dtype)
