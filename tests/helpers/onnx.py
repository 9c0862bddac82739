"""Exported ONNX files: how to feed them, and what they must answer."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

_TYPES = {
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(float)": np.float32,
    "tensor(uint8)": np.uint8,
}


def session(model):
    """Open a model, given by its path or its bytes, in ONNX Runtime."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])


def feeds(opened, X):
    """Turn a table or an array into a session's inputs, as docs/serving.md says."""
    if isinstance(X, np.ndarray):
        return {"x": X[..., np.newaxis] if X.ndim == 3 else X}
    inputs = {}
    for each in opened.get_inputs():
        column = X[each.name]
        if each.type == "tensor(string)":
            values = column.astype(object).where(column.notna(), "").astype(str).to_numpy(object)
        elif pd.api.types.is_datetime64_any_dtype(column):
            values = column.astype("datetime64[ns]").astype("int64").to_numpy()
        else:
            values = column.to_numpy(_TYPES[each.type])
        inputs[each.name] = values.reshape(-1, 1)
    return inputs


def answers(opened, X):
    """Score samples; return the outputs by name."""
    names = [each.name for each in opened.get_outputs()]
    return dict(zip(names, opened.run(None, feeds(opened, X)), strict=True))


def assert_equal_scores(found, detector, X, atol=1e-6):
    scores = detector.predict_proba(X)[:, 1]
    np.testing.assert_allclose(found["score"], scores, rtol=0, atol=atol)
    # Scores this close to the threshold, or to a held-back score, may count on its other side.
    near = np.abs(scores - detector.threshold_) <= atol
    anomalous = scores > detector.threshold_
    np.testing.assert_array_equal(found["is_anomaly"][~near], anomalous[~near])
    calibration = detector.pipeline_.calibration
    near = (np.abs(scores[:, np.newaxis] - calibration.scores.numpy()) <= atol).any(axis=1)
    expected = calibration.p_values(scores)
    np.testing.assert_allclose(found["p_value"][~near], expected[~near], rtol=0, atol=1e-6)
