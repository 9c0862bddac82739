"""The registry of converters, and how to make a layer exportable.

A converter writes one type of layer or model as ONNX operations. If the layer's output is
``activation(z)``, a converter writes z; activations have a registry of their own,
`r2ad2.serving.onnx.activations`. To export a layer, register a converter for it::

    @register_converter(MyScaling)
    class MyScalingConverter(Converter):
        def forward(self, call):
            return call.inputs[0] * call.weight("factor")

That is enough for networks of which only the output is needed. Detectors that use gradients also
need, for layers of the autoencoder, what the gradient with respect to the output says about the
input and about each weight::

        def backward(self, call, delta):
            return [delta * call.weight("factor")]

        def gradient(self, call, name, delta):
            return delta * call.inputs[0]

Converters handle several copies of a layer at once (the snapshots of an autoencoder): `call.weight`
then has the weights of all copies along a further first axis, and so have tensors. Formulas that
address axes from the end hold either way.

A converter covers exactly one type, not its subclasses: a subclass may compute something else.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from r2ad2.serving.onnx.graph import Graph, Tensor

_REMEDY = "export a SavedModel instead: export('serving/1')"


class NotExportableError(ValueError):
    """A part of a detector cannot be written as ONNX."""


def not_exportable(part: Any, reason: str, remedy: str = _REMEDY) -> NotExportableError:
    """Build the error that names a layer or model, the reason and the remedy."""
    name = getattr(part, "name", None)
    named = f"layer {name!r} ({type(part).__name__})" if name else type(part).__name__
    return NotExportableError(f"{named} cannot be exported to ONNX: {reason}; {remedy}")


@dataclass(eq=False)
class Call:
    """One call of a layer, or of its copies side by side.

    Attributes:
        graph: the graph under construction.
        layers: the layer, or one copy per snapshot.
        inputs: what the layer is called with.
        notes: whatever a converter computes in the forward pass and needs in the backward pass.
    """

    graph: Graph
    layers: Sequence[Any]
    inputs: list[Tensor]
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def layer(self) -> Any:
        """The layer, or the first of its copies: all have the same settings."""
        return self.layers[0]

    @property
    def input(self) -> Tensor:
        """The only input."""
        if len(self.inputs) != 1:
            raise not_exportable(self.layer, f"it is called with {len(self.inputs)} inputs")
        return self.inputs[0]

    def array(self, name: str) -> np.ndarray:
        """Return a weight, by the layer's attribute; of several copies along a new first axis."""
        arrays = [_as_array(getattr(layer, name)) for layer in self.layers]
        dtype = keras.backend.standardize_dtype(self.layer.compute_dtype)
        stacked = arrays[0] if len(arrays) == 1 else np.stack(arrays)
        return stacked.astype(dtype)

    def weight(self, name: str, n_axes: int = 1) -> np.ndarray:
        """Return a weight that broadcasts against samples: copies, 1 for the batch, and the weight.

        Args:
            name: the layer's attribute.
            n_axes: number of axes of a sample.
        """
        array = self.array(name)
        if len(self.layers) == 1:
            return array
        copies, *shape = array.shape
        return array.reshape(copies, *[1] * (1 + n_axes - len(shape)), *shape)


def _as_array(weight: Any) -> np.ndarray:
    return weight.numpy()


class Converter(abc.ABC):
    """How one type of layer or model is written."""

    # Whether each position along the axes before the last one is handled on its own.
    positionwise = False

    @abc.abstractmethod
    def forward(self, call: Call) -> Tensor:
        """Write the output before its activation."""

    def activation(self, layer: Any) -> Callable | None:
        """Return the Keras activation that follows; None without."""
        return getattr(layer, "activation", None)

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Write the gradient with respect to each input.

        Args:
            call: as passed to `forward`.
            delta: gradient of the summed loss with respect to what `forward` returned.
        """
        raise not_exportable(call.layer, "its gradient has no ONNX form in this package")

    def gradient(self, call: Call, name: str, delta: Tensor) -> Tensor:
        """Write each sample's gradient with respect to a weight, flattened to one axis.

        Args:
            call: as passed to `forward`.
            name: attribute of the layer that holds the weight.
            delta: as for `backward`.
        """
        raise not_exportable(call.layer, f"the gradient of its {name} has no ONNX form here")

    def factors(self, call: Call, delta: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the kernel's gradient as an outer product of two tensors, if it is one."""
        return None


_CONVERTERS: dict[type, Converter] = {}


def register_converter(*types: type) -> Callable[[type[Converter]], type[Converter]]:
    """Register a `Converter` class for layers or models of these types."""

    def register(converter: type[Converter]) -> type[Converter]:
        for kind in types:
            _CONVERTERS[kind] = converter()
        return converter

    return register


def find_converter(part: Any) -> Converter | None:
    """Return the converter of a layer or model, or None."""
    return _CONVERTERS.get(type(part))
