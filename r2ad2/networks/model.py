"""R2-AD2 as a Keras model: gradients of the snapshots, normalised, scored by the alarm network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from r2ad2.gradients.blocks import Block
from r2ad2.gradients.engine import gradient_weights_of
from r2ad2.networks.alarm import build_alarm_network, build_normalization
from r2ad2.networks.alarm_training import AlarmTraining
from r2ad2.networks.snapshot_gradients import SnapshotGradients
from r2ad2.networks.snapshots import frozen_copy
from r2ad2.training.replicas import replica_seed

GRADIENTS = ("raw", "sketch")


@keras.saving.register_keras_serializable("r2ad2")
class R2AD2(AlarmTraining):
    """Raw gradient anomaly detection as a Keras model.

    Samples are turned into the per-sample gradients of K frozen autoencoder snapshots, which pass a
    batch normalisation shared by all time steps and then the alarm network. `fit` trains
    normalisation and alarm network on arrays or tf.data pipelines of samples and labels (1 = known
    anomaly, 0 = normal; without labels all samples count as normal). Samples with known gradients
    may be given as ``{"x": samples, "gradients": model.alarm_inputs(samples)}``, and those of as
    many synthetic anomalies as "synthetic_gradients"; otherwise these are drawn. Sample and class
    weights act on the losses of the training data; synthetic anomalies always weigh 1.

    Args:
        snapshots: K autoencoders of one architecture; the model keeps frozen copies of them.
        alarm_units: hidden layers of the alarm network.
        dropout: rate in the alarm network, in [0, 1).
        noise_mean: mean of the synthetic anomalies.
        noise_std: standard deviation of the synthetic anomalies.
        reconstruction_loss: Keras loss whose gradient is taken.
        gradient_method: see `PerSampleGradients`.
        gradient_weights: positions, in a snapshot's weights, of those whose gradient is used; by
            default those trainable in the snapshots as given (all of a snapshot frozen as a whole).
        gradient: "raw", every component, or "sketch", random inner products (`GradientSketch`).
        sketch_size: inner products per layer, if its gradient is larger than that.
        trainable_sketch: whether the sketch's matrices are trained with the alarm network.
        alarm_dtype: Keras dtype policy of the alarm network; "mixed_bfloat16" computes the large
            matrix products in bfloat16 and keeps weights and scores in float32.
        seed: seed of initial weights, dropout and synthetic anomalies; None: Keras' generator.
        name: name of the model.

    Attributes:
        snapshots: the frozen copies.
        normalization: the batch normalisation (gamma, beta, moving mean, moving variance).
        alarm: the alarm network, from (batch, K, G) to scores (batch, 1).
        sketch: the sketch's random matrices; None for the raw gradient.
        n_features: G, or the number of the sketch's components.

    Raises:
        ValueError: without snapshots, if these differ in shape, or for an unknown gradient.

    Source: R2-AD2 (ECML-PKDD 2022), Figure 1 and Algorithm 1.
    """

    def __init__(
        self,
        snapshots: Sequence[keras.Model],
        *,
        alarm_units: Sequence[int] = (1000, 500, 200, 75),
        dropout: float = 0.4,
        noise_mean: float = 0.5,
        noise_std: float = 1.0,
        reconstruction_loss: str = "binary_crossentropy",
        gradient_method: str = "auto",
        gradient_weights: Sequence[int] | None = None,
        gradient: str = "raw",
        sketch_size: int = 256,
        trainable_sketch: bool = False,
        alarm_dtype: str = "float32",
        seed: int | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        snapshots = list(snapshots)
        if not snapshots:
            raise ValueError("R2AD2 needs at least one snapshot of an autoencoder")
        if gradient not in GRADIENTS:
            raise ValueError(f"unknown gradient {gradient!r}: choose one of {list(GRADIENTS)}")
        shapes = [[tuple(weight.shape) for weight in snapshot.weights] for snapshot in snapshots]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(
                "all snapshots must be copies of one autoencoder: their weights differ"
            )
        if gradient_weights is None:
            used = {id(weight) for weight in gradient_weights_of(snapshots[0])}
            gradient_weights = [i for i, w in enumerate(snapshots[0].weights) if id(w) in used]
        self.alarm_units = tuple(int(width) for width in alarm_units)
        self.dropout = dropout
        self.noise_mean = noise_mean
        self.noise_std = noise_std
        self.reconstruction_loss = reconstruction_loss
        self.gradient_method = gradient_method
        self.gradient_weights = tuple(int(i) for i in gradient_weights)
        self.gradient = gradient
        self.sketch_size = sketch_size
        self.trainable_sketch = trainable_sketch
        self.alarm_dtype = alarm_dtype
        self.seed = seed
        self.snapshots = [
            frozen_copy(snapshot, name=f"snapshot_{k}") for k, snapshot in enumerate(snapshots)
        ]
        sketch = {"size": sketch_size, "seed": seed, "trainable": trainable_sketch}
        self._gradients = SnapshotGradients(
            self.snapshots,
            self.gradient_weights,
            reconstruction_loss,
            gradient_method,
            sketch | {"name": "sketch"} if gradient == "sketch" else None,
        )
        self.sketch = self._gradients.sketch
        self.n_features = self._gradients.n_features
        n_snapshots = len(self.snapshots)
        self.normalization = build_normalization(n_snapshots)
        self.alarm = build_alarm_network(
            n_snapshots, self.n_features, self.alarm_units, dropout, seed, alarm_dtype
        )
        self.normalization.build(self.alarm.input_shape)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.build(self.snapshots[0].input_shape)

    def build(self, input_shape: Any) -> None:
        """Mark the model as built: all parts have had their weights since construction."""
        self.built = True

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample, without the batch."""
        return tuple(self.snapshots[0].input_shape[1:])

    @property
    def layer_components(self) -> dict[str, list[int]]:
        """Which of the `n_features` components belong to each of the autoencoder's layers."""
        return self._gradients.layer_components

    @property
    def gradient_blocks(self) -> list[Block]:
        """Blocks of the first snapshot's weights whose gradients are used."""
        return self._gradients.blocks

    @property
    def gradient_bytes(self) -> int:
        """Memory of one sample's gradients, in bytes."""
        return self._gradients.result_bytes

    @property
    def working_bytes(self) -> int:
        """Estimate of the memory that scoring one sample uses, in bytes."""
        return self._gradients.working_bytes

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, int]:
        """Return the shape of the scores: (batch, 1)."""
        return (input_shape[0], 1)

    def check_samples(self, x: Any) -> tf.Tensor:
        """Convert samples (batch, ...) to a tensor of the snapshots' type.

        Raises:
            ValueError: if the samples do not have the snapshots' input shape.
        """
        return self._gradients.check(x)

    def gradients(self, x: Any) -> tf.Tensor:
        """Compute the gradients (batch, K, G), raw or sketched, of samples (batch, ...)."""
        return self._gradients(x)

    def sample_synthetic_anomalies(self, x: tf.Tensor) -> tf.Tensor:
        """Draw counterexamples of the shape of x from N(noise_mean, noise_std).

        Override for another prior.
        """
        return tf.random.stateless_normal(
            tf.shape(x),
            tf.cast(replica_seed(self.seed_generator.next()), tf.int32),
            self.noise_mean,
            self.noise_std,
            x.dtype,
        )

    def call(self, x: Any, training: bool = False) -> tf.Tensor:
        """Compute anomaly scores (batch, 1) in [0, 1] of samples; see `alarm_inputs`."""
        return self._scores(self.alarm_inputs(x), normalize=training, drop=training)

    def alarm_inputs(self, x: Any) -> tf.Tensor:
        """Compute gradients in the alarm network's shape: a single snapshot has no time axis.

        Args:
            x: samples (batch, ...), or a dict of samples "x" and, if known, their "gradients" as
                returned by this method.

        Returns:
            (batch, K, G), or (batch, G) for K = 1.

        Raises:
            ValueError: for known gradients if the sketch is trained, because they change then.
        """
        if isinstance(x, dict):
            if "gradients" in x and self.trainable_sketch:
                raise ValueError(
                    "gradients cannot be given if the sketch is trained: they change with it"
                )
            if "gradients" in x:
                return x["gradients"]
            x = x["x"]
        return self._with_time_axis(self.gradients(x))

    def _with_time_axis(self, gradients: tf.Tensor) -> tf.Tensor:
        return gradients if len(self.snapshots) > 1 else gradients[:, 0]

    def score_gradients(self, gradients: tf.Tensor) -> tf.Tensor:
        """Compute anomaly scores (batch, 1) from the result of `gradients` (batch, K, G)."""
        return self._scores(self._with_time_axis(gradients), normalize=False, drop=False)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments; snapshots as serialised models."""
        return {
            "snapshots": [keras.saving.serialize_keras_object(s) for s in self.snapshots],
            "alarm_units": list(self.alarm_units),
            "dropout": self.dropout,
            "noise_mean": self.noise_mean,
            "noise_std": self.noise_std,
            "reconstruction_loss": self.reconstruction_loss,
            "gradient_method": self.gradient_method,
            "gradient_weights": list(self.gradient_weights),
            "gradient": self.gradient,
            "sketch_size": self.sketch_size,
            "trainable_sketch": self.trainable_sketch,
            "alarm_dtype": self.alarm_dtype,
            "seed": self.seed,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> R2AD2:
        """Build the model from `get_config`'s result; weights are loaded afterwards."""
        snapshots = [
            keras.saving.deserialize_keras_object(s, custom_objects=custom_objects)
            for s in config["snapshots"]
        ]
        return cls(**{**config, "snapshots": snapshots})
