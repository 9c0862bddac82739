"""R2-AD2 as a Keras model: gradients of the snapshots, normalised, judged by the alarm network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from r2ad2.gradients import GradientSketch, PerSampleGradients
from r2ad2.gradients.blocks import components_of_layers
from r2ad2.gradients.engine import gradient_weights_of
from r2ad2.networks.adam import FusedAdam
from r2ad2.networks.alarm import UnrolledLSTM, build_alarm_network, build_normalization
from r2ad2.networks.snapshots import frozen_copy
from r2ad2.training.replicas import has_machines, loss_in_batch, seed_of_device

GRADIENTS = ("raw", "sketch")


@keras.saving.register_keras_serializable("r2ad2")
class R2AD2(keras.Model):
    """Raw gradient anomaly detection as a Keras model.

    Samples go to the per-sample gradients of K frozen autoencoder snapshots, through a batch
    normalisation shared by all time steps, to the alarm network. `fit` trains normalisation and
    alarm network: arrays or tf.data pipelines of samples and labels (1 = known anomaly, 0 = normal;
    without labels all samples count as normal). Samples whose gradients are known may be given as
    ``{"x": samples, "gradients": model.time_steps(samples)}``. Weights of samples and classes act
    on the losses of the training data; synthetic anomalies always weigh 1.

    Args:
        snapshots: K autoencoders of one architecture; frozen copies of them are kept.
        alarm_units: hidden layers of the alarm network.
        dropout: rate in the alarm network.
        noise_mean: mean of the synthetic anomalies.
        noise_std: standard deviation of the synthetic anomalies.
        reconstruction_loss: Keras loss of which the gradient is taken.
        gradient_method: see `PerSampleGradients`.
        gradient_weights: positions, in a snapshot's weights, of those whose gradient is used; by
            default those trainable in the snapshots as given (all of a snapshot frozen as a whole).
        gradient: "raw", every component, or "sketch", random inner products (`GradientSketch`).
        sketch_size: inner products per layer, where its gradient is larger than that.
        trainable_sketch: whether the sketch's matrices are trained with the alarm network.
        alarm_dtype: Keras dtype policy of the alarm network; "mixed_bfloat16" computes the large
            matrix products in bfloat16 and keeps weights and scores in float32.
        seed: decides initial weights, dropout and synthetic anomalies; None: Keras' generator.
        name: name of the model.

    Attributes:
        snapshots: the frozen copies.
        normalization: the batch normalisation (gamma, beta, moving mean, moving variance).
        alarm: the alarm network, from (batch, K, G) to scores (batch, 1).
        sketch: the sketch's random matrices; None where the raw gradient is used.
        n_features: G, or the number of the sketch's components.

    Raises:
        ValueError: without snapshots, if these differ in shape, or for an unknown gradient.

    Source: METHOD of R2-AD2 (ECML-PKDD 2022), Figure 1 and Algorithm 1.
    """

    _recurrent_layer: ClassVar[type[keras.layers.LSTM]] = UnrolledLSTM
    _optimizer_type: ClassVar[type[keras.optimizers.Adam]] = FusedAdam

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
        self._engines = [
            PerSampleGradients(
                snapshot,
                loss=reconstruction_loss,
                method=gradient_method,
                weights=[snapshot.weights[i] for i in self.gradient_weights],
            )
            for snapshot in self.snapshots
        ]
        blocks = self._engines[0].blocks
        self.sketch = (
            GradientSketch(
                [(block.rows, block.columns) for block in blocks],
                sketch_size,
                seed,
                trainable=trainable_sketch,
                name="sketch",
            )
            if gradient == "sketch"
            else None
        )
        self.n_features = self.sketch.output_size if self.sketch else self._engines[0].size
        n_snapshots = len(self.snapshots)
        self.normalization = build_normalization(n_snapshots)
        self.alarm = build_alarm_network(
            n_snapshots,
            self.n_features,
            self.alarm_units,
            dropout,
            seed,
            alarm_dtype,
            self._recurrent_layer,
        )
        self.normalization.build(self.alarm.input_shape)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._training_loss = keras.metrics.Mean(name="training_loss")
        self._synthetic_loss = keras.metrics.Mean(name="synthetic_loss")
        self._normalization_loss = keras.metrics.Mean(name="normalization_loss")
        self._crossentropy = keras.losses.BinaryCrossentropy()
        self._gradient_function = tf.function(
            self._compute_gradients,
            input_signature=[
                tf.TensorSpec(self.snapshots[0].input_shape, self.snapshots[0].inputs[0].dtype)
            ],
            autograph=False,
        )
        self.build(self.snapshots[0].input_shape)

    def build(self, input_shape: Any) -> None:
        """Mark the model as built: all parts have their weights since construction."""
        self.built = True

    @property
    def layer_components(self) -> dict[str, list[int]]:
        """Which of the `n_features` components belong to each of the autoencoder's layers."""
        largest = self.sketch_size if self.sketch else None
        return components_of_layers(self._engines[0].blocks, largest)

    @property
    def gradient_bytes(self) -> int:
        """Memory of one sample's gradients, in bytes."""
        itemsize = tf.as_dtype(self._engines[0].dtype).size
        return itemsize * len(self.snapshots) * self.n_features

    @property
    def working_bytes(self) -> int:
        """Estimate of the memory that one sample takes up while it is scored, in bytes.

        Beside the gradients these are the activations and their deltas, and, of convolutions, the
        raw gradients: a sketch does without these in dense layers only.
        """
        engine = self._engines[0]
        is_image = len(self.snapshots[0].input_shape) > 2
        formed = engine.size if is_image or not self.sketch else 0
        return self.gradient_bytes + 4 * len(self.snapshots) * (formed + 2 * engine.n_activations)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, int]:
        """Return the shape of the scores: (batch, 1)."""
        return (input_shape[0], 1)

    def gradients(self, x: Any) -> tf.Tensor:
        """Compute the gradients (batch, K, G), raw or sketched, of samples (batch, ...)."""
        x = self._engines[0].check(x)
        if x.shape[0] == 0:  # TensorFlow's pooling kernels fail on empty batches
            return tf.zeros((0, len(self.snapshots), self.n_features), self._engines[0].dtype)
        return self._gradient_function(x)

    def _compute_gradients(self, x: tf.Tensor) -> tf.Tensor:
        if tf.distribute.get_strategy().num_replicas_in_sync == 1:
            return self._compute_gradients_of_some(x)
        # A device may get no sample of an epoch's last batch, which pooling kernels do not survive.
        padded = tf.concat([x, tf.zeros((1, *x.shape[1:]), x.dtype)], axis=0)
        return self._compute_gradients_of_some(padded)[:-1]

    def _compute_gradients_of_some(self, x: tf.Tensor) -> tf.Tensor:
        pieces: list[tf.Tensor] = []
        for engine in self._engines:
            blocks = engine.block_gradients(x)
            if self.sketch is None:
                pieces += [block.flat() for block in blocks]
            else:
                pieces += self.sketch.project(blocks)
        # One copy puts all pieces in place.
        together = tf.concat([tf.cast(p, self._engines[0].dtype) for p in pieces], axis=1)
        return tf.reshape(together, (tf.shape(x)[0], len(self.snapshots), self.n_features))

    def sample_synthetic_anomalies(self, x: tf.Tensor) -> tf.Tensor:
        """Draw counterexamples of the shape of x from N(noise_mean, noise_std).

        Override for another prior.
        """
        return tf.random.stateless_normal(
            tf.shape(x),
            tf.cast(seed_of_device(self.seed_generator.next()), tf.int32),
            self.noise_mean,
            self.noise_std,
            x.dtype,
        )

    def call(self, x: Any, training: bool = False) -> tf.Tensor:
        """Compute anomaly scores (batch, 1) in [0, 1] of samples; see `time_steps`."""
        return self._judge(self.time_steps(x), normalize=training, drop=training)

    def time_steps(self, x: Any) -> tf.Tensor:
        """Compute gradients in the alarm network's shape: a single snapshot has no time axis.

        Args:
            x: samples (batch, ...), or a dict of samples "x" and, where known, their "gradients"
                as this method gave them.

        Raises:
            ValueError: for known gradients where the sketch is trained, so that they change.
        """
        if isinstance(x, dict):
            if "gradients" in x and self.trainable_sketch:
                raise ValueError(
                    "gradients cannot be given where the sketch is trained: they change with it"
                )
            if "gradients" in x:
                return x["gradients"]
            x = x["x"]
        return self._with_time_axis(self.gradients(x))

    def _with_time_axis(self, gradients: tf.Tensor) -> tf.Tensor:
        return gradients if len(self.snapshots) > 1 else gradients[:, 0]

    def judge(self, gradients: tf.Tensor) -> tf.Tensor:
        """Compute anomaly scores (batch, 1) from `gradients` (batch, K, G)."""
        return self._judge(self._with_time_axis(gradients), normalize=False, drop=False)

    def _judge(self, gradients: tf.Tensor, *, normalize: bool, drop: bool) -> tf.Tensor:
        """Score gradients; `normalize`: by the batch's statistics, `drop`: with dropout."""
        return self.alarm(self.normalization(gradients, training=normalize), training=drop)

    # ---- training -------------------------------------------------------------------------

    def compile(
        self,
        learning_rate: Any = 1e-3,
        *,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = False,
    ) -> None:
        """Configure the training: two Adam optimisers, for the alarm network and normalisation.

        Args:
            learning_rate: number or Keras learning-rate schedule, for both optimisers.
            metrics: Keras metrics of scores and labels.
            weighted_metrics: the same, weighted by sample and class weights.
            run_eagerly: run steps without a graph, for debugging.
            steps_per_execution: batches per call of the compiled step.
            jit_compile: compile steps by XLA; "auto" leaves the choice to Keras.
        """
        arguments = {
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
        }
        self._compile_arguments = {
            key: keras.saving.serialize_keras_object(value)
            for key, value in (arguments | {"learning_rate": learning_rate}).items()
        }
        optimizer, self.normalization_optimizer = (
            self._optimizer_type(learning_rate) for _ in range(2)
        )
        super().compile(optimizer=optimizer, loss=self._crossentropy, **arguments)
        self.optimizer.build(self._alarm_variables)
        self.normalization_optimizer.build(self.normalization.trainable_variables)

    @property
    def _alarm_variables(self) -> list[keras.Variable]:
        """What the alarm network's optimiser trains: its weights, and a trainable sketch."""
        return self.alarm.trainable_variables + (
            self.sketch.trainable_variables if self.sketch else []
        )

    def get_compile_config(self) -> dict[str, Any]:
        """Return the arguments of `compile`, serialised."""
        return dict(self._compile_arguments) if self.compiled else {}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with `get_compile_config`'s result."""
        self.compile(
            **{key: keras.saving.deserialize_keras_object(value) for key, value in config.items()}
        )

    def _unpack(self, data: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | None]:
        """Split a batch into samples, labels (batch, 1) and sample weights."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        shape = (tf.shape(tf.nest.flatten(x)[0])[0], 1)
        y = tf.zeros(shape) if y is None else tf.reshape(tf.cast(y, tf.float32), shape)
        return x, y, sample_weight

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Make one step of Algorithm 1 on a batch of samples and labels.

        1. Draw as many synthetic anomalies as there are samples.
        2. Update the alarm network by the losses of samples and synthetic anomalies (equation 2);
           the normalisation uses its moving statistics.
        3. Update the normalisation, moving statistics included, by the loss of the samples alone
           (equation 3) under the updated alarm network without dropout.
        """
        x, y, sample_weight = self._unpack(data)
        samples = self._engines[0].check(x["x"] if isinstance(x, dict) else x)
        n_samples = tf.shape(samples)[0]
        synthetic = tf.cast(self.sample_synthetic_anomalies(samples), samples.dtype)

        alarm_weights = self._alarm_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([weight.value for weight in alarm_weights])
            # Samples and synthetic anomalies go through the networks together.
            if isinstance(x, dict) and "gradients" in x:
                gradients = tf.concat([self.time_steps(x), self.time_steps(synthetic)], axis=0)
            else:
                gradients = self.time_steps(tf.concat([samples, synthetic], axis=0))
            all_scores = self._judge(gradients, normalize=False, drop=True)
            scores, synthetic_scores = all_scores[:n_samples], all_scores[n_samples:]
            training_loss = self._mean_loss(y, scores, sample_weight)
            synthetic_loss = self._mean_loss(tf.ones_like(y), synthetic_scores)
            loss = training_loss + synthetic_loss
            share_of_loss = loss_in_batch(loss, n_samples)
        self.optimizer.apply(tape.gradient(share_of_loss, alarm_weights), alarm_weights)

        normalization_weights = self.normalization.trainable_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([weight.value for weight in normalization_weights])
            normalized_scores = self._judge(gradients[:n_samples], normalize=True, drop=False)
            normalization_loss = self._mean_loss(y, normalized_scores, sample_weight)
            share_of_loss = loss_in_batch(normalization_loss, n_samples)
        self.normalization_optimizer.apply(
            tape.gradient(share_of_loss, normalization_weights), normalization_weights
        )

        self._track((loss, training_loss, synthetic_loss, normalization_loss), n_samples)
        return self.compute_metrics(x, y, scores, sample_weight)

    def _mean_loss(
        self, y: tf.Tensor, scores: tf.Tensor, sample_weight: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Compute the mean loss of the samples of this device."""
        loss = self._crossentropy(y, scores, sample_weight)
        n_replicas = tf.distribute.get_strategy().num_replicas_in_sync
        # Keras has divided it by the number of devices.
        return loss if n_replicas == 1 else loss * n_replicas

    def _track(self, losses: tuple[tf.Tensor, ...], n_samples: tf.Tensor) -> None:
        """Add a step's losses (total, training, synthetic, normalisation) to the epoch's means."""
        trackers = (
            self._loss_tracker,
            self._training_loss,
            self._synthetic_loss,
            self._normalization_loss,
        )
        for tracker, loss in zip(trackers, losses, strict=True):
            tracker.update_state(loss, sample_weight=n_samples)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Evaluate the loss of samples and labels; there are no synthetic anomalies here."""
        x, y, sample_weight = self._unpack(data)
        scores = self(x, training=False)
        loss = self._mean_loss(y, scores, sample_weight)
        self._loss_tracker.update_state(loss, sample_weight=tf.shape(y)[0])
        results = self.compute_metrics(x, y, scores, sample_weight)
        training_only = {"training_loss", "synthetic_loss", "normalization_loss"}
        return {name: value for name, value in results.items() if name not in training_only}

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, tf.Tensor]:
        """Update the metrics of `compile`; return the values of all metrics so far."""
        results = super().compute_metrics(x, y, y_pred, sample_weight)
        # Across machines Keras takes the mean of these along their first axis.
        return {n: v[tf.newaxis] for n, v in results.items()} if has_machines() else results

    def _get_metrics_result_or_logs(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Return the metrics of all devices' samples; Keras means to, but not in evaluations."""
        results = self.get_metrics_result()
        return {name: results.get(name, value) for name, value in logs.items()}

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Make the state of metrics before a distributed training.

        Keras looks at a first batch for that, which fails if it is spread over several machines, or
        unevenly over devices.
        """
        if self._distribute_strategy is not None:
            batch = (tf.zeros((1, *self.snapshots[0].input_shape[1:])), tf.zeros((1, 1)))
            super()._maybe_symbolic_build(data_batch=batch)

    # ---- serialisation --------------------------------------------------------------------

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
