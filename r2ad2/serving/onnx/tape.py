"""Writes a model layer by layer, and the gradient of its loss back through the same layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

import r2ad2.serving.onnx.layers  # noqa: F401, registers converters
from r2ad2.gradients.forward import is_graph_of_layers, run_layers
from r2ad2.serving.onnx.activations import find_activation
from r2ad2.serving.onnx.graph import Graph, Tensor
from r2ad2.serving.onnx.registry import Call, Converter, find_converter, not_exportable


@dataclass(eq=False)
class Step:
    """One recorded operation: what it computed, and how its gradient goes back."""

    call: Call
    converter: Converter | None
    output: Tensor
    backward: Callable[[Tensor], list[Tensor]]


class Tape:
    """Writes models and records what the backward pass needs.

    Args:
        graph: the graph under construction.
        wanted: ids of the weights to differentiate with respect to.
    """

    def __init__(self, graph: Graph, wanted: Sequence[int] = ()):
        self.graph = graph
        self._wanted = set(wanted)
        self.steps: list[Step] = []
        self.hidden: list[Tensor] = []  # outputs of layers with weights
        self._depends: set[str] = set()  # tensors that depend on a wanted weight

    def run(self, models: Sequence[keras.Model], inputs: Tensor) -> Tensor:
        """Write a model, or copies of one side by side; return its output.

        Raises:
            NotExportableError: for a layer without a converter; the message names it.
        """
        first = models[0]
        converter = find_converter(first)
        if converter is not None:
            return self._apply(converter, models, [inputs])
        if not is_graph_of_layers(first):
            raise not_exportable(first, "it is neither functional nor sequential")

        def operation(found: Any) -> Callable:
            copies = [_named(model, found) for model in models]
            return lambda *args, **kwargs: self._operation(copies, args)

        return run_layers(first, inputs, operation)

    def _operation(self, copies: Sequence[Any], args: tuple) -> Tensor:
        first = copies[0]
        inputs = list(keras.tree.flatten(args))
        if find_converter(first) is None and isinstance(first, keras.Model):
            return self.run(copies, inputs[0])
        converter = find_converter(first)
        if converter is None:
            raise not_exportable(
                first,
                "there is no converter for this type",
                "use another layer, register a converter (r2ad2.serving.onnx.registry), or "
                "export a SavedModel: export('serving/1')",
            )
        return self._apply(converter, copies, inputs)

    def _apply(self, converter: Converter, copies: Sequence[Any], inputs: list[Tensor]) -> Tensor:
        layer = copies[0]
        dtype = keras.backend.standardize_dtype(getattr(layer, "compute_dtype", "float32"))
        if dtype not in ("float32", "float64"):
            raise not_exportable(
                layer, f"it computes in {dtype}", "retrain in float32 or export a SavedModel"
            )
        if getattr(layer, "autocast", False):
            inputs = [value.cast(dtype) for value in inputs]
        call = Call(self.graph, copies, inputs)
        output = converter.forward(call)
        weights = getattr(layer, "weights", [])
        if any(id(weight) in self._wanted for weight in weights):
            self._depends.add(output.name)
        self._record(call, converter, output, lambda delta: converter.backward(call, delta))
        output = self._activate(layer, converter.activation(layer), output)
        if weights:
            self.hidden.append(output)
        return output

    def _activate(self, layer: Any, function: Callable | None, z: Tensor) -> Tensor:
        if function in (None, keras.activations.linear):
            return z
        activation = find_activation(layer, function)
        y = activation.forward(z)
        if function is keras.activations.sigmoid:
            y = replace(y, logits=z)  # a cross-entropy then uses the logits, as in Keras
        call = Call(self.graph, [layer], [z])
        self._record(call, None, y, lambda delta: [delta * activation.derivative(z, y)])
        return y

    def _record(
        self, call: Call, converter: Converter | None, output: Tensor, backward: Callable
    ) -> None:
        if any(output.name == value.name for value in call.inputs):
            return  # nothing was computed, as by dropout
        if any(value.name in self._depends for value in call.inputs):
            self._depends.add(output.name)
        self.steps.append(Step(call, converter, output, backward))

    def gradients(self, start: Tensor, delta: Tensor) -> list[tuple[Step, Tensor]]:
        """Write the gradient back through all recorded steps.

        Args:
            start: the tensor to begin at.
            delta: gradient of the summed loss with respect to it.

        Returns:
            The steps of layers with wanted weights, each with the gradient with respect to its
            output before the activation.
        """
        found: list[tuple[Step, Tensor]] = []
        deltas: dict[str, Tensor] = {start.name: delta}
        for step in reversed(self.steps):
            if step.output.name not in deltas:
                continue
            arriving = deltas.pop(step.output.name)
            layer = step.call.layer
            if step.converter is not None and any(
                id(weight) in self._wanted for weight in getattr(layer, "weights", [])
            ):
                found.append((step, arriving))
            if not any(value.name in self._depends for value in step.call.inputs):
                continue
            for value, part in zip(step.call.inputs, step.backward(arriving), strict=True):
                earlier = deltas.get(value.name)
                deltas[value.name] = part if earlier is None else earlier + part
        return found


def _named(model: keras.Model, found: Any) -> Any:
    """Find a copy's layer that corresponds to a layer of the first model: they share names."""
    for layer in model.layers:
        if layer.name == found.name:
            return layer
    return found  # an operation without weights, such as a sum
