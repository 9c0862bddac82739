"""Detectors that are trained in a moment."""

from __future__ import annotations

import functools
import math

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from r2ad2 import AnomalyDetector, R2AD2Detector
from r2ad2.detectors.registry import detectors
from r2ad2.serving.onnx.registry import Converter, register_converter
from tests.helpers.tables import table

SMALL = {
    "alarm_units": (16, 8, 4),
    "start_epoch": 2,
    "n_snapshots": 2,
    "snapshot_interval": 1,
    "epochs": 8,
    "batch_size": 32,
    "random_state": 0,
}
SETTINGS = {
    "alarm_units": (16, 8, 4),
    "start_epoch": 4,
    "n_snapshots": 2,
    "snapshot_interval": 1,
    "epochs": 20,
    "batch_size": 16,
    "learning_rate": 0.01,
    "dropout": 0.1,
    "random_state": 0,
}
QUICK = SETTINGS | {"epochs": 2, "start_epoch": 1}
DETECTORS = {
    name: detector_type
    for name, detector_type in detectors().items()
    if issubclass(detector_type, AnomalyDetector)
}


@functools.cache
def small_detector() -> tuple[R2AD2Detector, pd.DataFrame, np.ndarray]:
    """Train a detector once per process, for tests that do not change it; also return its data."""
    X, y = table(np.random.default_rng(0))
    return R2AD2Detector(**SMALL).fit(X, y), X, y


@keras.saving.register_keras_serializable("tests")
class DistanceScorer(keras.Model):
    """Scores samples by their distance from the middle: nothing is trained."""

    def call(self, x, training=False):
        # Vectors or images; in some of the graphs that are saved, their rank is unknown.
        distance = tf.reduce_mean(tf.square(x - 0.5), axis=tf.range(1, tf.rank(x)))
        return tf.reshape(distance / (1 + distance), (-1, 1))


@register_converter(DistanceScorer)
class DistanceConverter(Converter):
    """Writes the same as ONNX operations."""

    def forward(self, call):
        x = call.input.reshape((math.prod(call.input.sample_shape),))
        distance = (x - 0.5).sum_squares() * (1.0 / x.sample_shape[0])
        return distance / (distance + 1.0)


class DistanceDetector(AnomalyDetector):
    def _fit_scorer(self, x, y, random, progress):
        return DistanceScorer(), {"nothing": pd.DataFrame({"epoch": [1], "loss": [0.0]})}
