"""Scores Spark DataFrames: every worker process of the executors loads the model once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from r2ad2.support.extras import from_extra

if TYPE_CHECKING:
    import pyspark.sql

    from r2ad2.detectors.base import AnomalyDetector

# The detector that this Python worker process has loaded, by the digest of the model file. Spark
# uses a worker for many tasks, and forks it before any of this is imported.
_loaded: dict[str, AnomalyDetector] = {}
_INTEGERS = frozenset({"tinyint", "smallint", "int", "bigint"})
_TEXTS = frozenset({"string", "char", "varchar"})
_ACCEPTED = {
    "number": _INTEGERS | {"float", "double", "decimal", "boolean", "void"},
    "text": _INTEGERS | _TEXTS | {"boolean", "decimal", "void"},
    "timestamp": _TEXTS | {"timestamp", "timestamp_ntz", "date", "void"},
}
_REMEDY = {"number": "double", "text": "string", "timestamp": "timestamp"}


def score(
    df: pyspark.sql.DataFrame,
    model_path: str | os.PathLike,
    output_col: str = "score",
    *,
    is_anomaly_col: str | None = None,
    p_value_col: str | None = None,
) -> pyspark.sql.DataFrame:
    """Append anomaly scores to a Spark DataFrame.

    Columns are found by name; others, such as identifiers, stay unchanged and do not go through
    Python. The scores are computed when Spark runs a job on the result. A null counts as a missing
    value: if the detector was trained without missing values, the job fails with an error that
    names the column.

    Args:
        df: rows with at least the columns of the training table.
        model_path: file of a saved detector that was trained on a DataFrame. Only the driver needs
            it: Spark broadcasts its content.
        output_col: name of the new column of scores in [0, 1] (double).
        is_anomaly_col: name of a new boolean column: whether the score is above the detector's
            threshold; None for no such column.
        p_value_col: name of a new column of conformal p-values in (0, 1] (double); None for no
            such column.

    Returns:
        The DataFrame with the new columns at its end.

    Raises:
        ImportError: without pyspark.
        FileNotFoundError: if there is no such model file.
        ValueError: for a model that was not trained on a table, for columns that are missing, have
            an unsuitable type or exist already, or if the detector has no p-values.
    """
    with from_extra("spark", "pyspark"):
        from pyspark.sql import functions
        from pyspark.sql.types import BooleanType, DoubleType, StructField, StructType
    from r2ad2.detectors.persistence import load

    detector = load(model_path)
    kinds = _kinds_of(detector)
    wanted = {
        name: column
        for name, column in (
            ("score", output_col),
            ("is_anomaly", is_anomaly_col),
            ("p_value", p_value_col),
        )
        if column is not None
    }
    _check_new_columns(df, list(wanted.values()))
    types = _types_of(df)
    _check_columns(df, kinds, types)
    if p_value_col is not None and not detector.pipeline_.calibration.n_samples:
        raise ValueError(
            "the detector has no p-values because no normal samples were held back: leave out "
            "p_value_col, or call calibrate(X) and save it again"
        )
    content = Path(model_path).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    broadcast = df.sparkSession.sparkContext.broadcast(content)
    columns, new = list(kinds), list(wanted)

    def score_batches(batches: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for batch in batches:
            yield _score_batch(broadcast, digest, batch.set_axis(columns, axis=1), new)

    schema = StructType(
        [StructField(n, BooleanType() if n == "is_anomaly" else DoubleType()) for n in new]
    )
    # Within the struct the columns are numbered, so that they may have any name.
    inputs = [
        _as_input(functions, name, types[name], kind).alias(f"c{i}")
        for i, (name, kind) in enumerate(kinds.items())
    ]
    results = functions.pandas_udf(score_batches, schema)(functions.struct(*inputs))
    return df.select(
        "*", *(results.getField(name).alias(column) for name, column in wanted.items())
    )


# ---- on the driver ------------------------------------------------------------------------


def _kinds_of(detector: AnomalyDetector) -> dict[str, str]:
    """Return the kind ("number", "text", "timestamp") of each column in the order of training."""
    from r2ad2.encoders.tables import TableEncoder

    encoder = detector.pipeline_.encoder
    if not isinstance(encoder, TableEncoder):
        raise ValueError(
            "the detector was trained on arrays, whose columns have no names: train it on a "
            "DataFrame to score Spark DataFrames"
        )
    kinds = encoder.kinds
    return {name: kinds[name] for name in encoder.columns}


def _check_new_columns(df: pyspark.sql.DataFrame, names: list[str]) -> None:
    # By default, Spark takes "Score" and "score" for the same column.
    taken = [name.lower() for name in df.columns]
    for name in names:
        if name.lower() in taken:
            raise ValueError(
                f"column {name!r} already exists: choose another name for the new column, or drop "
                "the old one"
            )
        taken.append(name.lower())


def _check_columns(df: pyspark.sql.DataFrame, kinds: dict[str, str], types: dict[str, str]) -> None:
    absent = [name for name in kinds if name not in types]
    if absent:
        named = ", ".join(map(repr, absent[:5])) + (", ..." if absent[5:] else "")
        raise ValueError(
            f"columns differ from those of training: missing column {named}; add it, or rename "
            "the column that holds it"
        )
    names = df.columns  # asked for once: there may be thousands
    n_times = Counter(names)
    ignores_case = df.sparkSession.conf.get("spark.sql.caseSensitive") != "true"
    alike = Counter(map(str.lower, n_times)) if ignores_case else Counter()
    for name, kind in kinds.items():
        if n_times[name] > 1:
            raise ValueError(f"column name {name!r} appears more than once: rename the columns")
        if alike[name.lower()] > 1:
            other = next(n for n in names if n != name and n.lower() == name.lower())
            raise ValueError(
                f"columns {name!r} and {other!r} differ only in upper and lower case, which "
                "Spark ignores: set spark.sql.caseSensitive to true, or drop the other column"
            )
        type_name = types[name]
        if type_name not in _ACCEPTED[kind]:
            raise ValueError(
                f"column {name!r} has Spark type {type_name}, but was a {kind} column in training: "
                f"cast it to {_REMEDY[kind]}"
            )


def _types_of(df: pyspark.sql.DataFrame) -> dict[str, str]:
    """Return the names of the columns' types without their parameters, such as "decimal"."""
    described = {field.name: field.dataType.simpleString() for field in df.schema.fields}
    return {name: text.partition("(")[0].partition("<")[0] for name, text in described.items()}


def _as_input(functions: Any, name: str, type_name: str, kind: str) -> Any:
    """Convert a column to what the detector expects."""
    escaped = name.replace("`", "``")
    column = functions.col(f"`{escaped}`")
    if kind == "number":
        return column.cast("double")
    if kind == "text" and type_name == "decimal":
        return column.cast("double")  # which finds "0.5", whereas the text would be "0.50"
    if kind == "text" and type_name == "boolean":
        return functions.initcap(column.cast("string"))  # "True" as in Python
    if kind == "text" or type_name == "void":
        return column.cast("string")
    # Otherwise timestamps would arrive in the session's time zone, unknown to pandas, and those
    # without a zone in nanoseconds, which end in the year 2262.
    if type_name == "timestamp":
        return functions.unix_micros(column)
    return column.cast("string") if type_name == "timestamp_ntz" else column


# ---- in the executors' Python workers -----------------------------------------------------


def _score_batch(
    broadcast: Any, digest: str, table: pd.DataFrame, names: list[str]
) -> pd.DataFrame:
    """Score the rows of one Arrow batch; `names` are the wanted results."""
    if table.empty:
        return pd.DataFrame({name: [] for name in names}, dtype=float)
    detector = _detector(broadcast, digest)
    for name in detector.pipeline_.encoder.timestamps:
        if pd.api.types.is_numeric_dtype(table[name].dtype):
            table[name] = pd.to_datetime(table[name].astype("Int64"), unit="us", utc=True)
    scores = detector.predict_proba(table)[:, 1]
    results = {
        "score": lambda: scores,
        "is_anomaly": lambda: scores > detector.threshold_,
        "p_value": lambda: detector.pipeline_.calibration.p_values(scores),
    }
    return pd.DataFrame({name: results[name]() for name in names})


def _detector(broadcast: Any, digest: str) -> AnomalyDetector:
    """Return the detector of this process; only the first call loads it."""
    if digest not in _loaded:
        _limit_threads()
        from r2ad2.detectors.persistence import load

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            path.write_bytes(broadcast.value)
            detector = load(path)
        _loaded.clear()  # a worker process can live long and see many models
        _loaded[digest] = detector
    return _loaded[digest]


def _limit_threads() -> None:
    """Let TensorFlow use as many cores as Spark assigns to a task, usually one.

    Spark runs one Python worker per task slot of a machine.
    """
    import tensorflow as tf
    from pyspark import TaskContext

    context = TaskContext.get()
    n_threads = context.cpus() if context is not None else 1
    # TensorFlow refuses this once it is in use, as by another function of the same worker.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(n_threads)
        tf.config.threading.set_inter_op_parallelism_threads(n_threads)
