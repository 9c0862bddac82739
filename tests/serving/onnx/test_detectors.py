"""Every kind of detector as an ONNX file: equal scores.

The forest computes in double precision, so that only the last rounding differs. The other
detectors add up in single precision, in another order than TensorFlow.
"""

from __future__ import annotations

import numpy as np
import pytest

from baselines import A3Detector, AEDetector, DeepSADDetector, DevNetDetector, GradConDetector
from r2ad2 import GradientForestDetector, R2AD2Detector
from tests.helpers.detectors import SETTINGS
from tests.helpers.onnx import answers, assert_equal_scores, session

pytest.importorskip("onnx", reason="ONNX is not installed")
CONVOLUTIONAL = SETTINGS | {"architecture": "4C3-3C3-4"}
FOREST = {"n_trees": 15, "start_epoch": 2, "snapshot_interval": 1, "random_state": 0}
BASELINE = {"epochs": 5, "batch_size": 16, "random_state": 0}
SMALL_ALARM = {"alarm_units": (16, 8)}


def vectors(n=160, n_features=6):
    random = np.random.default_rng(0)
    y = (np.arange(n) % 6 == 0).astype(int)
    return random.random((n, n_features)) + 0.7 * y[:, np.newaxis], y


def images(n=120):
    random = np.random.default_rng(0)
    y = (np.arange(n) % 6 == 0).astype(int)
    X = random.integers(0, 100, (n, 9, 8), dtype=np.uint8)
    return X + (100 * y[:, np.newaxis, np.newaxis]).astype(np.uint8), y


SLOW = pytest.mark.slow
FAST_PRESET = R2AD2Detector.from_preset
DETECTORS = [
    pytest.param(GradientForestDetector(**FOREST, n_snapshots=1), vectors, id="forest-1-snapshot"),
    pytest.param(R2AD2Detector(**SETTINGS), vectors, id="raw", marks=SLOW),
    pytest.param(FAST_PRESET("fast", **SETTINGS, sketch_size=8), vectors, id="fast"),
    pytest.param(
        R2AD2Detector(**SETTINGS | {"n_snapshots": 1}), vectors, id="raw-1-snapshot", marks=SLOW
    ),
    pytest.param(
        R2AD2Detector(**SETTINGS | {"alarm_units": (8,)}),
        vectors,
        id="raw-1-hidden-layer",
        marks=SLOW,
    ),
    pytest.param(AEDetector(**BASELINE), vectors, id="AE"),
    pytest.param(GradConDetector(**BASELINE), vectors, id="GradCon"),
    pytest.param(DeepSADDetector(**BASELINE), vectors, id="DeepSAD"),
    pytest.param(DevNetDetector(**BASELINE), vectors, id="DevNet"),
    pytest.param(A3Detector(**BASELINE, **SMALL_ALARM), vectors, id="A3"),
    pytest.param(
        GradientForestDetector(**FOREST, architecture="8-4"), images, id="forest-dense-images"
    ),
    pytest.param(
        GradientForestDetector(**FOREST, architecture="4C3-3C3-4"),
        images,
        id="forest-images",
        marks=SLOW,
    ),
    pytest.param(R2AD2Detector(**CONVOLUTIONAL), images, id="raw-images", marks=SLOW),
    pytest.param(
        FAST_PRESET("fast", **CONVOLUTIONAL, sketch_size=8), images, id="fast-images", marks=SLOW
    ),
    pytest.param(AEDetector(**BASELINE), images, id="AE-images", marks=SLOW),
    pytest.param(GradConDetector(**BASELINE), images, id="GradCon-images", marks=SLOW),
    pytest.param(DeepSADDetector(**BASELINE), images, id="DeepSAD-images", marks=SLOW),
    pytest.param(DevNetDetector(**BASELINE), images, id="DevNet-images", marks=SLOW),
    pytest.param(A3Detector(**BASELINE, **SMALL_ALARM), images, id="A3-images", marks=SLOW),
]


@pytest.mark.parametrize(("detector", "samples"), DETECTORS)
def test_scores(detector, samples, tmp_path, record_property):
    X, y = samples()
    detector.fit(X, y)
    opened = session(detector.export(tmp_path / "model.onnx"))
    found = answers(opened, X)
    is_forest = isinstance(detector, GradientForestDetector)
    assert_equal_scores(found, detector, X, atol=1e-6 if is_forest else 1e-5)
    assert found["score"].std() > 1e-3
    difference = np.abs(found["score"] - detector.predict_proba(X)[:, 1]).max()
    record_property("largest difference", float(difference))
    for n in (0, 1):
        np.testing.assert_allclose(
            answers(opened, X[:n])["score"], found["score"][:n], rtol=0, atol=1e-6
        )
