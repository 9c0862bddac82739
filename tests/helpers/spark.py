"""Spark on this machine, and its DataFrames."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.conftest import PROJECT
from tests.helpers.detectors import DistanceDetector

needs_spark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("pyspark") is None, reason="needs pyspark: pip install -r requirements-spark.txt"
    ),
    pytest.mark.skipif(
        shutil.which("java") is None and "JAVA_HOME" not in os.environ, reason="Spark needs Java"
    ),
]
# The time zone must not matter.
OPTIONS = {
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.session.timeZone": "America/New_York",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.executor.memory": "512m",
}
_TYPES = {"number": "double", "text": "string", "timestamp": "timestamp"}


def start_spark(master: str, **options: str) -> Any:
    """Start Spark; a session that is active is stopped."""
    from pyspark.sql import SparkSession

    if SparkSession.getActiveSession() is not None:
        SparkSession.getActiveSession().stop()
    os.environ["PYSPARK_PYTHON"] = sys.executable
    builder = SparkSession.builder.master(master)
    for name, value in (OPTIONS | options).items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")  # failures are part of the tests
    return session


def start_spark_for_tests(folder: Path) -> Any:
    """Start Spark with one worker that knows the tests' detector, as one of another package.

    Args:
        folder: an empty folder, for the metadata of that package.
    """
    metadata = folder / "tests_detectors-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tests-detectors\nVersion: 1\n")
    name, module = DistanceDetector.__name__, DistanceDetector.__module__
    (metadata / "entry_points.txt").write_text(f"[r2ad2.detectors]\n{name} = {module}:{name}\n")
    path = os.pathsep.join([str(PROJECT), str(folder), os.environ.get("PYTHONPATH", "")])
    options = {"spark.executorEnv.PYTHONPATH": path, "spark.sql.caseSensitive": "true"}
    return start_spark("local[1]", **options)


def spark_scores(session: Any, detector: Any, frame: pd.DataFrame, model: Path) -> np.ndarray:
    """Score a frame's rows with Spark; columns have the types of the detector's training."""
    import r2ad2.spark

    encoder = detector.pipeline_.encoder
    columns, fields = {}, []
    for i, name in enumerate(frame.columns):
        is_boolean = frame[name].dropna().map(lambda value: isinstance(value, bool)).all()
        kind = "boolean" if is_boolean else _TYPES[encoder.kinds[name]]
        convert = {"double": float, "string": str, "boolean": bool}.get(kind, _utc)
        columns[name] = [None if pd.isna(v) else convert(v) for v in frame[name].astype(object)]
        fields.append(f"c{i} {kind}")
    rows = list(zip(*columns.values(), range(len(frame)), strict=True))
    df = session.createDataFrame(rows, ", ".join([*fields, "id int"])).toDF(*columns, "row number")
    scored = r2ad2.spark.score(df, model, "the score").toPandas()
    return scored.sort_values("row number")["the score"].to_numpy()


def _utc(value: Any) -> Any:
    return pd.Timestamp(value, tz="UTC").to_pydatetime()
