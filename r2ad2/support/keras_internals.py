"""Everything private to Keras that this package needs, behind names of our own.

Keras may rename these at any time. `PRIVATE_NAMES` lists them with what they are needed for; a test
per name says which one went missing in which version. No other module may use a private name of
Keras or import ``keras.src``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

# Where Keras' own classes say they live, as written in model files.
SOURCE_PACKAGE = "keras.src"
FUNCTIONAL_MODULE = "keras.src.models.functional"

# Private name -> what has it, and what for.
PRIVATE_NAMES = {
    "_run_through_graph": "functional models: computes the outputs with replaced operations",
    "_inbound_nodes": "layers: the calls of a layer in the graph of a model",
    "_loss_tracker": "compiled models: the epoch's mean loss",
    "_maybe_symbolic_build": "models: builds metrics under a distribution strategy before `fit`",
    "_get_metrics_result_or_logs": "models: the results of an epoch or evaluation",
    "_get_variable_index": "optimisers: position of a variable among those it trains",
    "_momentums": "Adam: the first moments",
    "_velocities": "Adam: the second moments",
}


def has_graph(model: keras.Model) -> bool:
    """Return whether a model is functional, so that `run_graph` can compute its outputs."""
    return hasattr(model, "_run_through_graph")


def run_graph(model: keras.Model, inputs: Any, operation_fn: Callable[[Callable], Callable]) -> Any:
    """Compute a functional model's outputs, each operation replaced by `operation_fn` of it.

    Args:
        model: a model for which `has_graph` holds.
        inputs: tensors in the structure of the model's inputs.
        operation_fn: takes a layer or operation and returns what is called in its place.
    """
    return model._run_through_graph(inputs, operation_fn=operation_fn)


def output_tensors(layer: keras.layers.Layer) -> Iterator[Any]:
    """Iterate over the symbolic outputs of all calls of a layer."""
    for node in layer._inbound_nodes:
        yield from node.output_tensors


def loss_tracker(model: keras.Model) -> keras.metrics.Mean:
    """Return the metric "loss" of a compiled model: the mean over the epoch so far."""
    return model._loss_tracker


def adam_moments(
    optimizer: keras.optimizers.Adam, variable: Any
) -> tuple[keras.Variable, keras.Variable]:
    """Return Adam's first and second moments of a variable that it trains."""
    index = optimizer._get_variable_index(variable)
    return optimizer._momentums[index], optimizer._velocities[index]


class ReplicatedModel(keras.Model):
    """A model with one input that trains correctly under `tf.distribute.MirroredStrategy`.

    Two parts of Keras fail there for batches that cannot be divided evenly between the devices:

    - Before it trains or evaluates, Keras reads a first batch to build the metrics, and cannot
      average the devices' parts of it. Here one sample of `sample_shape` stands for that batch.
    - After an evaluation Keras averages the devices' results instead of those of all samples. Here
      the results are read from the metrics.
    """

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch."""
        raise NotImplementedError

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Build the state of the metrics before training; does nothing on a single device."""
        super()._maybe_symbolic_build(
            data_batch=(tf.zeros((1, *self.sample_shape)), tf.zeros((1, 1)))
        )

    def _get_metrics_result_or_logs(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Return the metrics over all devices' samples for the names in `logs`."""
        results = self.get_metrics_result()
        return {name: results.get(name, value) for name, value in logs.items()}
