"""Requests to exported models, and their answers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import tensorflow as tf

from r2ad2.serving.inputs import input_names


def tensors(X):
    """Turn the columns of the table into the exported model's inputs."""
    names = input_names([str(name) for name in X.columns])
    return {
        names[name]: tf.constant(
            (X[name] - pd.Timestamp(0)).dt.total_seconds()
            if name == "when"
            else X[name].astype(str).to_numpy(dtype=object)
            if names[name] in ("class_", "H_he_m_")
            else X[name].to_numpy()
        )
        for name in X.columns
    }


def assert_equal_answers(answers, detector, X):
    np.testing.assert_allclose(answers["score"], detector.predict_proba(X)[:, 1], atol=1e-6)
    np.testing.assert_array_equal(answers["is_anomaly"], detector.predict(X))
    np.testing.assert_allclose(answers["p_value"], detector.p_values(X), atol=1e-6)
