"""Thresholds with a guarantee: conformal p-values from held-back normal samples."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from r2ad2.support.messages import count

DEFAULT_THRESHOLD = 0.5
# With this many samples a false-positive rate of 1 % has a standard deviation of only 0.1 %.
MAX_HELD_BACK = 10_000
_ROUNDING = 1e-5  # relative


def required_samples(false_positive_rate: float) -> int:
    """Compute how many held-back normal samples a false-positive rate needs: 1 / rate - 1."""
    return math.ceil(1 / false_positive_rate - 1 - 1e-9)


def with_margin(scores: np.ndarray) -> np.ndarray:
    """Raise calibration scores (n,) by as much as rounding may change them.

    The same sample gets slightly different scores in batches of different sizes. A fresh sample
    must not seem to score above its own duplicate among the held-back samples.
    """
    return np.minimum(scores * np.float32(1 + _ROUNDING), np.float32(1))


def conformal_threshold(scores: np.ndarray, false_positive_rate: float) -> float:
    """Choose the lowest threshold that flags at most a given share of fresh normal samples.

    Args:
        scores: (n,) of normal samples that the detector has not seen in training.
        false_positive_rate: the share, in (0, 1).

    Returns:
        The k-th largest score, k = floor((n + 1) * rate): among samples exchangeable with the given
        ones, the expected share with a greater score is at most the rate, for every n.

    Example:
        >>> conformal_threshold(np.arange(100) / 100, false_positive_rate=0.05)
        0.95

    Raises:
        ValueError: if there are too few samples for this rate.

    Source: split conformal prediction; Vovk, Gammerman, Shafer: Algorithmic Learning in a Random
        World, 2005; Bates et al.: Testing for outliers with conformal p-values, 2023.
    """
    k = math.floor((len(scores) + 1) * false_positive_rate + 1e-9)
    if k < 1:
        needed = required_samples(false_positive_rate)
        raise ValueError(
            f"false_positive_rate={false_positive_rate:g} needs at least {needed:,} held-back "
            f"normal samples, but there are {len(scores):,}: give more, or choose a rate of at "
            f"least {1 / (len(scores) + 1):.2g}"
        )
    return float(np.sort(scores)[-k])


def promised_rate(
    scores: np.ndarray, threshold: float, false_positive_rate: float | None
) -> float | None:
    """Return the false-positive rate that a threshold promises; None if it promises none.

    The promise is that of `conformal_threshold`; another threshold may have been assigned.

    Args:
        scores: (n,) of held-back normal samples.
        threshold: the threshold in use.
        false_positive_rate: the share that it should promise, in (0, 1), or None.
    """
    if false_positive_rate is None or len(scores) < required_samples(false_positive_rate):
        return None
    promised = conformal_threshold(scores, false_positive_rate)
    return false_positive_rate if math.isclose(threshold, promised, rel_tol=_ROUNDING) else None


def contamination_threshold(scores: np.ndarray, contamination: float) -> float:
    """Choose the threshold that flags a given share of the training samples themselves.

    Args:
        scores: (n,) of all training samples.
        contamination: the share, in (0, 0.5].

    Source: the parameter of this name in PyOD and scikit-learn.
    """
    # In the precision of the scores, so that no score exceeds its own threshold by rounding.
    return float(np.float32(np.percentile(scores, 100 * (1 - contamination))))


@keras.saving.register_keras_serializable("r2ad2")
class Calibration(keras.layers.Layer):
    """Scores of held-back normal samples and the threshold: part of the saved model.

    Calling it converts scores (n,) to conformal p-values (n,) in (0, 1]: the probability of a
    score at least as high if the sample were normal,
    (1 + #{held-back scores >= score}) / (1 + #{held back}). NaN if nothing was held back.

    Args:
        n_samples: number of held-back normal samples.

    Attributes:
        scores: (n_samples,) in ascending order.
        threshold: scores above it are predicted anomalous.

    Source: as `conformal_threshold`.
    """

    def __init__(self, n_samples: int, **kwargs: Any):
        super().__init__(trainable=False, dtype="float32", autocast=False, **kwargs)
        self.n_samples = int(n_samples)
        self.scores = self.add_weight(
            shape=(self.n_samples,), initializer="zeros", trainable=False, name="scores"
        )
        self.threshold = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(DEFAULT_THRESHOLD), name="threshold"
        )
        self.built = True

    @classmethod
    def from_scores(cls, scores: np.ndarray, threshold: float) -> Calibration:
        """Make the layer from scores (n,) in any order and a threshold."""
        calibration = cls(len(scores))
        calibration.scores.assign(np.sort(scores))
        calibration.threshold.assign(threshold)
        return calibration

    def call(self, scores: tf.Tensor) -> tf.Tensor:
        """Compute p-values (n,) of scores (n,)."""
        if not self.n_samples:
            return tf.fill(tf.shape(scores), np.float32(np.nan))
        lower = tf.searchsorted(self.scores.value, tf.cast(scores, tf.float32), side="left")
        return tf.cast(1 + self.n_samples - lower, tf.float32) / (self.n_samples + 1)

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Compute p-values (n,) of scores (n,) outside a graph.

        Raises:
            ValueError: if nothing was held back.
        """
        if not self.n_samples:
            raise ValueError(
                "no normal samples were held back to compare with: train with "
                "calibration_fraction above 0 on more samples, or call calibrate(X) with normal "
                "samples that the detector has not seen"
            )
        return self(tf.constant(scores, tf.float32)).numpy().astype(np.float64)

    def get_config(self) -> dict[str, Any]:
        """Return the number of samples; scores and threshold are weights."""
        return {"name": self.name, "n_samples": self.n_samples}


def n_held_back(n_normal: int, fraction: float, false_positive_rate: float | None) -> int:
    """Compute how many normal samples to hold back for calibration.

    Args:
        n_normal: number of normal samples.
        fraction: share to hold back; never more than `MAX_HELD_BACK` samples.
        false_positive_rate: the rate to guarantee; None guarantees nothing.

    Raises:
        ValueError: if that is too few for the rate.
    """
    n_samples = min(int(fraction * n_normal), MAX_HELD_BACK)
    required = 0 if false_positive_rate is None else required_samples(false_positive_rate)
    if n_samples < required:
        if required > MAX_HELD_BACK:
            remedy = (
                f"as no more than {MAX_HELD_BACK:,} are held back, choose a rate of at least "
                f"{1 / (MAX_HELD_BACK + 1):.2g}"
            )
        else:
            remedy = "raise calibration_fraction, give more normal samples, or choose a higher rate"
        raise ValueError(
            f"false_positive_rate={false_positive_rate:g} needs at least {required:,} held-back "
            f"normal samples, but calibration_fraction={fraction:g} of "
            f"{count(n_normal, 'normal sample')} are {n_samples:,}: {remedy}"
        )
    return n_samples
