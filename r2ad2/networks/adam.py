"""Adam in a single pass over memory."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from r2ad2.support.keras_internals import adam_moments


@keras.saving.register_keras_serializable("r2ad2")
class FusedAdam(keras.optimizers.Adam):
    """Keras' Adam with TensorFlow's fused kernel: the same numbers without temporary arrays.

    The alarm network's first kernel has some 50 million weights. Keras' update makes about ten
    passes over them and several copies; the fused kernel makes one pass and no copy.
    """

    def update_step(self, gradient: Any, variable: tf.Variable, learning_rate: Any) -> None:
        """Update one variable and its two moments."""
        if self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        momentum, velocity = adam_moments(self, variable)
        dtype = variable.dtype
        step = tf.cast(self.iterations.value + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=momentum.value.handle,
            v=velocity.value.handle,
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )
