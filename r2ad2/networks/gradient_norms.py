"""Norms of per-sample gradients: how strongly a sample would change each layer of a snapshot."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from r2ad2.gradients import PerSampleGradients

# Keeps the logarithm of a vanishing gradient finite.
SMALLEST_SQUARE = 1e-24


def double_precision_copy(model: keras.Model, name: str | None = None) -> keras.Model:
    """Copy a functional or sequential model; the copy computes in float64 and is not trainable.

    Trees jump at their thresholds. Rounding in single precision differs between batch sizes and
    machines, and now and then would move a sample to the other side; in double precision it is far
    below the resolution of what trees compare.
    """

    def convert(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float64"})

    inputs, outputs = (
        tensors[0] if len(tensors) == 1 else tensors for tensors in (model.inputs, model.outputs)
    )
    copy = keras.models.clone_model(
        keras.Model(inputs, outputs),
        input_tensors=keras.Input(model.input_shape[1:], dtype="float64"),
        clone_function=convert,
        recursive=True,
    )
    copy.set_weights(model.get_weights())
    copy.trainable = False
    if name is not None:
        copy.name = name
    return copy


def require_double_precision(model: keras.Model) -> None:
    """Check that TensorFlow computes the gradients of all layers in double precision.

    Raises:
        ValueError: for a grouped convolution; the message names the layer.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            require_double_precision(layer)
        elif isinstance(layer, keras.layers.Conv2D) and layer.groups > 1:
            raise ValueError(
                f"layer {layer.name!r} is a grouped convolution, whose gradients TensorFlow does "
                "not compute in double precision: use groups=1, or R2AD2Detector"
            )


class GradientNorms:
    """Computes the logarithm of the gradient's norm for each snapshot and layer.

    Args:
        snapshots: K autoencoders of one architecture.
        weights: positions, in a snapshot's weights, of those to differentiate with respect to.
        loss: Keras reconstruction loss.
        method: see `PerSampleGradients`.

    Attributes:
        layers: names of the layers.
        loss: the reconstruction loss.
        blocks: blocks of the first snapshot's weights.
        blocks_of_layers: positions of each layer's blocks.
        working_bytes: estimate of the memory that one sample's computation uses, in bytes.
    """

    def __init__(
        self,
        snapshots: Sequence[keras.Model],
        weights: Sequence[int],
        loss: str = "binary_crossentropy",
        method: str = "auto",
    ):
        self._engines = [
            PerSampleGradients(
                snapshot, loss=loss, method=method, weights=[snapshot.weights[i] for i in weights]
            )
            for snapshot in snapshots
        ]
        first = self._engines[0]
        self.loss = loss
        self.blocks = first.blocks
        self.blocks_of_layers: dict[str, list[int]] = {}
        for number, block in enumerate(first.blocks):
            path = block.weights[0].path
            layer = path.rpartition("/")[0] or path
            self.blocks_of_layers.setdefault(layer, []).append(number)
        self.layers = list(self.blocks_of_layers)
        formed = first.size if len(first.model.input_shape) > 2 else 0
        itemsize = tf.as_dtype(first.dtype).size
        self.working_bytes = itemsize * len(snapshots) * (formed + 2 * first.n_activations)
        # Training and scoring have graphs of their own; this part of them is traced only once.
        self._function = tf.function(
            self._compute,
            input_signature=[tf.TensorSpec(first.model.input_shape, first.model.inputs[0].dtype)],
            autograph=False,
        )

    def __call__(self, samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Compute logarithms of norms, and the last snapshot's reconstruction.

        Args:
            samples: (batch, ...), at least one, of the snapshots' type.

        Returns:
            (batch, K, layers), and the shape of the samples.
        """
        return self._function(samples)

    def _compute(self, samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        per_snapshot = []
        for engine in self._engines:
            blocks, outputs = engine.block_gradients_and_outputs(samples)
            squares = [block.squared_norm() for block in blocks]
            norms = [
                tf.math.log(tf.add_n([squares[i] for i in numbers]) + SMALLEST_SQUARE) / 2
                for numbers in self.blocks_of_layers.values()
            ]
            per_snapshot.append(tf.stack(norms, axis=1))
        return tf.stack(per_snapshot, axis=1), outputs
