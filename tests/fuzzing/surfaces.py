"""Where users' data comes in, and what must come out: a valid result or one clear refusal."""

from __future__ import annotations

import contextlib
import functools
import io
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from hypothesis import strategies as st

import r2ad2
from r2ad2.cli import main as cli
from r2ad2.detectors.base import AnomalyDetector
from r2ad2.detectors.persistence import load
from r2ad2.encoders.arrays import ImageEncoder, VectorEncoder
from r2ad2.encoders.labels import encode_labels
from r2ad2.encoders.scaling import SCALINGS
from r2ad2.encoders.tables import TableEncoder
from r2ad2.tables.source import TableSource
from tests.fixtures.make import FOLDER, training_table
from tests.fuzzing import csv_files, strategies

_LONGEST_MESSAGE = 600  # characters


@dataclass(frozen=True)
class Surface:
    """One way in.

    Attributes:
        inputs: strategy for what goes in.
        use: passes it on, checks what comes out and returns the outcome; may raise a clear
            ValueError.
    """

    inputs: st.SearchStrategy
    use: Callable[[Any], str]


def require(condition: Any, what: str) -> None:
    """Raise an AssertionError, which counts as a fault; unlike assert, also under python -O."""
    if not condition:
        raise AssertionError(what)


def check_refusal(error: ValueError) -> None:
    """Check that a message is meant for users."""
    message = str(error)
    require(message.strip(), "an error without a message")
    require(len(message) < _LONGEST_MESSAGE, f"a message of {len(message)} characters")
    for inner in ("{{function", "node ", "Traceback", "OpKernel"):
        require(inner not in message, f"an internal message of TensorFlow: {message[:200]}")


def _check_encoded(encoder: Any, samples: Any, n: int) -> None:
    prepared = encoder.prepare(samples)
    encoded = encoder(tf.nest.map_structure(tf.convert_to_tensor, prepared)).numpy()
    require(encoded.shape == (n, *encoder.sample_shape), f"encoded as {encoded.shape}")
    require(np.isfinite(encoded).all(), "encoded as NaN or infinity")


def _check_scores(detector: AnomalyDetector, samples: Any, n: int) -> None:
    scores = detector.predict_proba(samples)[:, 1]
    require(scores.shape == (n,), f"{scores.shape} scores of {n} rows")
    require(((scores >= 0) & (scores <= 1)).all(), "scores outside of [0, 1]")


def _use_table_encoder(case: tuple) -> str:
    table, missing, normal = case
    for scaling in SCALINGS:
        encoder = TableEncoder.learn(table, np.resize(normal, len(table)), None, missing, scaling)
        _check_encoded(encoder, table, len(table))
    return "result"


def _use_array_encoder(case: tuple) -> str:
    samples, missing = case
    kind = ImageEncoder if np.ndim(samples) in (3, 4) else VectorEncoder
    n = len(samples) if np.ndim(samples) else 0
    for scaling in SCALINGS:
        encoder = kind.learn(samples, np.ones(n, bool), np.ones(n, bool), missing, scaling)
        _check_encoded(encoder, samples, n)
    return "result"


@functools.cache
def table_detector() -> AnomalyDetector:
    """Load the detector of tests/fixtures."""
    return load(FOLDER / f"detector-{r2ad2.__version__}.keras")


def _use_table_detector(table: pd.DataFrame) -> str:
    _check_scores(table_detector(), table, len(table))
    return "result"


class UntrainedDetector(AnomalyDetector):
    """A detector with random weights; everything but the training is as usual."""

    def _fit_scorer(self, x: Any, y: Any, random: Any, progress: Any) -> tuple:
        keras.utils.set_random_seed(0)
        layers = [keras.Input(x.shape[1:]), keras.layers.Flatten(), keras.layers.Dense(3)]
        scorer = keras.Sequential([*layers, keras.layers.Dense(1, "sigmoid")])
        return scorer, {"none": pd.DataFrame({"epoch": [1], "loss": [0.0]})}


@functools.cache
def array_detector() -> AnomalyDetector:
    """Train a very small detector on arrays (n, 4)."""
    detector = r2ad2.R2AD2Detector(
        architecture="3-2",
        alarm_units=(4, 3, 2),
        start_epoch=1,
        snapshot_interval=1,
        epochs=1,
        random_state=0,
    )
    X = np.random.default_rng(0).random((60, 4))
    return detector.fit(X, (np.arange(60) > 50).astype(int))


def _use_array_detector(samples: Any) -> str:
    _check_scores(array_detector(), samples, len(samples) if np.ndim(samples) else 0)
    return "result"


def _use_fit(case: tuple) -> str:
    (y, n, anomaly), values, missing = case
    odd = values.iloc[np.arange(n) % len(values)].reset_index(drop=True)
    X = training_table()[0].iloc[:n].assign(odd=odd)
    detector = UntrainedDetector(missing=missing, anomaly_label=anomaly, random_state=0)
    detector.fit(X, y)
    _check_scores(detector, X, n)
    return "result"


def _use_labels(case: tuple) -> str:
    y, n, anomaly = case
    classes, labels = encode_labels(y, n, anomaly)
    require(len(classes) == 2, f"{len(classes)} classes")
    require(labels.shape == (n,), f"{labels.shape} labels of {n} samples")
    require(set(labels.tolist()) <= {0, 1}, "labels other than 0 and 1")
    require(not n or (labels == 0).any(), "no normal sample")
    return "result"


def _use_label_column(case: tuple) -> str:
    table, named, is_normal = case
    source = TableSource("a", **{"normal" if is_normal else "anomalous": tuple(named)})
    labels = source.labels(table)
    require(labels.shape == (len(table),), f"{labels.shape} labels of {len(table)} rows")
    require(set(labels.tolist()) <= {0, 1}, "labels other than 0 and 1")
    return "result"


@functools.cache
def valid_file() -> bytes:
    """Return a CSV file that the detector of tests/fixtures can score."""
    table, _ = training_table()
    return table.tail(8).to_csv(index=False).encode()


def run_command(*arguments: str) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it wrote to standard error."""
    errors = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["r2ad2", *arguments]),
        # The same detector every time: loading it would take most of the time.
        mock.patch.object(r2ad2, "load", return_value=table_detector()),
        contextlib.redirect_stderr(errors),
        contextlib.suppress(SystemExit),
    ):
        try:
            cli.main()
        except SystemExit as stopped:
            return int(stopped.code or 0), errors.getvalue()
    raise AssertionError("the command did not end")


def use_file(content: bytes, suffix: str, skip: bool) -> str:
    """Score a file by the command line."""
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / f"new{suffix}").write_bytes(content)
        arguments = ["score", f"{folder}/new{suffix}", "--model", "model.keras", "--quiet"]
        arguments += ["--output", f"{folder}/scores.csv", "--on-error", "skip" if skip else "raise"]
        arguments += ["--rejects", f"{folder}/rejects.csv"] if skip else []
        code, errors = run_command(*arguments)
        written = {path.name for path in folder.iterdir()} - {f"new{suffix}"}
        if code == 2:
            require(errors.startswith("Error: "), f"an error without the word: {errors[:200]}")
            require(errors.count("\n") == 1, f"{errors.count(chr(10))} lines of errors")
            check_refusal(ValueError(errors))
            require(not written, f"files in spite of an error: {written}")
            return "refused"
        require(code == 0, f"exit code {code}")
        scores = pd.read_csv(folder / "scores.csv")
        require(scores["score"].between(0, 1).all(), "scores outside of [0, 1]")
        rows = scores["row"].tolist()
        if "rejects.csv" in written:
            rows += pd.read_csv(folder / "rejects.csv")["row"].tolist()
        require(sorted(rows) == list(range(len(rows))), f"rows {rows}")
        return "result"
    finally:
        shutil.rmtree(folder)


def _use_random_file(case: tuple) -> str:
    number, skip = case
    random = np.random.default_rng(number)
    return use_file(csv_files.changed(random, valid_file()), csv_files.suffix(random), skip)


_MISSING = st.sampled_from(["error", "indicator"])
_BITS = st.lists(st.booleans(), min_size=1, max_size=3)

SURFACES = {
    "table encoder": Surface(
        st.tuples(strategies.tables(), _MISSING, _BITS.map(np.array)), _use_table_encoder
    ),
    "array encoders": Surface(st.tuples(strategies.arrays(), _MISSING), _use_array_encoder),
    "detector, tables": Surface(
        strategies.changed_tables(training_table()[0]), _use_table_detector
    ),
    "detector, any table": Surface(strategies.tables(), _use_table_detector),
    "detector, arrays": Surface(strategies.arrays(), _use_array_detector),
    "detector, training": Surface(
        st.tuples(strategies.labels(), strategies.columns(3), _MISSING), _use_fit
    ),
    "labels": Surface(strategies.labels(), _use_labels),
    "label column": Surface(
        st.tuples(strategies.tables(), st.lists(st.text(max_size=2), max_size=2), st.booleans()),
        _use_label_column,
    ),
    "files, command line": Surface(
        st.tuples(st.integers(0, 2**63), st.booleans()), _use_random_file
    ),
}


def quietly(use: Callable[[Any], str], case: Any) -> str:
    """Use an input without its warnings; a clear refusal is also an outcome."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return use(case)
        except ValueError as error:
            check_refusal(error)
            return "refused"
