"""The alarm network: batch normalisation over time, LSTMs and dense layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from r2ad2.training.replicas import n_devices, replica_seed


@keras.saving.register_keras_serializable("r2ad2")
class TimeDistributed(layers.TimeDistributed):
    """Applies a layer to all time steps at once by folding time into the batch.

    Keras 3 calls the wrapped layer once per time step. A batch normalisation would then compute
    separate statistics for each step and move its averages once per step; the original computes
    them over all steps together, once per batch.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Apply the wrapped layer to inputs (batch, time, ...)."""
        n_steps = inputs.shape[1]
        folded = self.layer(ops.reshape(inputs, (-1, *inputs.shape[2:])), training=training)
        return ops.reshape(folded, (-1, n_steps, *folded.shape[1:]))


@keras.saving.register_keras_serializable("r2ad2")
class Dropout(layers.Dropout):
    """Keras' Dropout with 16 instead of 32 random bits per input: 5 % faster steps with sketches.

    The rate is rounded to a multiple of 1 / 65536. Inputs that are kept are scaled by the rounded
    rate, so the expected output equals the input. docs/performance.md has figures.
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Set a share of the inputs to zero in training."""
        dropped = min(round(self.rate * 2**16), 2**16 - 1)
        if not training or not dropped:
            return inputs
        size = tf.size(inputs)
        pairs = tf.random.stateless_uniform(
            [(size + 1) // 2],
            tf.cast(replica_seed(self.seed_generator.next()), tf.int32),
            minval=None,
            maxval=None,
            dtype=tf.int32,
        )
        numbers = tf.reshape(tf.bitcast(pairs, tf.uint16), [-1])[:size]
        kept = tf.reshape(numbers >= tf.constant(dropped, tf.uint16), tf.shape(inputs))
        scale = tf.cast(2**16 / (2**16 - dropped), inputs.dtype)
        return tf.where(kept, inputs * scale, tf.zeros((), inputs.dtype))


@keras.saving.register_keras_serializable("r2ad2")
class UnrolledLSTM(layers.LSTM):
    """Keras' LSTM for a short sequence of fixed length: the same numbers with less work.

    One matrix product projects the inputs of all time steps, so the backward pass also needs a
    single product for the kernel's gradient. The first step, whose state is zero, skips the
    recurrent product. For layers with a bias and none of Keras' other options.
    """

    def call(
        self, sequences: Any, initial_state: Any = None, mask: Any = None, training: bool = False
    ) -> Any:
        """Compute the states of inputs (batch, time, features)."""
        if initial_state is not None or mask is not None:
            return super().call(sequences, initial_state, mask, training)
        cell, (n_steps, n_features) = self.cell, sequences.shape[1:]
        folded = ops.reshape(sequences, (-1, n_features))
        projected = ops.matmul(folded, cell.kernel) + cell.bias
        projected = ops.reshape(projected, (-1, n_steps, 4 * self.units))
        outputs: list[Any] = []
        carry: Any = None
        for step in range(n_steps):
            gates = projected[:, step]
            if outputs:
                gates = gates + ops.matmul(outputs[-1], cell.recurrent_kernel)
            enter, forget, candidate, leave = ops.split(gates, 4, axis=-1)
            new = cell.recurrent_activation(enter) * cell.activation(candidate)
            carry = new if carry is None else new + cell.recurrent_activation(forget) * carry
            outputs.append(cell.recurrent_activation(leave) * cell.activation(carry))
        return ops.stack(outputs, axis=1) if self.return_sequences else outputs[-1]


def build_normalization(n_snapshots: int) -> layers.Layer:
    """Build the batch normalisation of gradients, shared by all time steps.

    Its weights are gamma, beta, moving mean and moving variance. With a single snapshot there is
    no time axis.
    """
    # On several devices the statistics are those of the whole batch, not of each device's part. On
    # a single device this option of Keras would lose digits.
    normalization = layers.BatchNormalization(name="normalization", synchronized=n_devices() > 1)
    if n_snapshots == 1:
        return normalization
    return TimeDistributed(normalization, name="normalization")


def build_alarm_network(
    n_snapshots: int,
    n_gradients: int,
    units: Sequence[int],
    dropout: float = 0.4,
    seed: int | None = None,
    dtype: str = "float32",
) -> keras.Sequential:
    """Build the network from normalised gradients to the anomaly score.

    With several snapshots the first two layers are LSTMs and all others dense; with one snapshot
    all are dense. Dropout acts on the inputs of the LSTMs and after each hidden dense layer.

    Args:
        n_snapshots: K, the number of time steps.
        n_gradients: G, the gradient components of one time step.
        units: sizes of the hidden layers.
        dropout: rate in [0, 1).
        seed: seed of initial weights and dropout; None draws from Keras' global generator.
        dtype: Keras dtype policy of the hidden layers, such as "mixed_bfloat16".

    Returns:
        A model from (batch, K, G), or (batch, G) for K = 1, to scores (batch, 1) in [0, 1].

    Raises:
        ValueError: if there are no units, one is below 1, or the dropout is out of range.

    Source: R2-AD2 (ECML-PKDD 2022).
    """
    if not units or any(width < 1 for width in units):
        raise ValueError(f"alarm_units must be positive sizes of hidden layers, got {units!r}")
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout must be in [0, 1), got {dropout}")
    generator = None if seed is None else np.random.default_rng(seed)

    def next_seed() -> int | None:
        return None if generator is None else int(generator.integers(2**31))

    def glorot() -> keras.initializers.Initializer:
        return keras.initializers.GlorotUniform(seed=next_seed())

    n_recurrent = min(2, len(units)) if n_snapshots > 1 else 0
    shape = (n_snapshots, n_gradients) if n_snapshots > 1 else (n_gradients,)
    alarm = keras.Sequential([keras.Input(shape)], name="alarm")
    for i, width in enumerate(units[:n_recurrent]):
        # Different inputs are dropped in each time step, as in the original under Keras 2. In Keras
        # 3 the LSTM's own dropout would drop the same inputs in all time steps.
        alarm.add(Dropout(dropout, seed=next_seed(), dtype=dtype))
        alarm.add(
            UnrolledLSTM(
                width,
                return_sequences=i + 1 < n_recurrent,
                kernel_initializer=glorot(),
                recurrent_initializer=keras.initializers.Orthogonal(seed=next_seed()),
                dtype=dtype,
            )
        )
    for width in units[n_recurrent:]:
        alarm.add(layers.Dense(width, activation="relu", kernel_initializer=glorot(), dtype=dtype))
        alarm.add(Dropout(dropout, seed=next_seed(), dtype=dtype))
    # Scores keep full precision.
    alarm.add(
        layers.Dense(
            1, activation="sigmoid", kernel_initializer=glorot(), name="score", dtype="float32"
        )
    )
    return alarm
