"""Scoring Spark DataFrames: the scores of a single machine on a real Spark, processes killed."""

from __future__ import annotations

import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import r2ad2.spark
from baselines import AEDetector
from r2ad2 import R2AD2Detector
from r2ad2.datasets.sets.nsl_kdd import FEATURES
from r2ad2.detectors import persistence
from tests.helpers.detectors import DistanceDetector
from tests.helpers.spark import needs_spark, start_spark
from tests.helpers.tables import table

TOLERANCE = 1e-6
N_ROWS = 4_000  # of the published test file
QUICK = {"architecture": "4-2", "epochs": 1, "random_state": 0}
NAMES = [*FEATURES, "class", "difficulty"]
TEXTS = ["protocol_type", "service", "flag", "class"]


def test_without_pyspark_the_error_names_the_extra():
    code = """
import sys
sys.modules["pyspark"] = None  # importing it now fails
import r2ad2
try:
    r2ad2.spark.score(None, "model.keras")
except ImportError as error:
    print(error)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "pyspark is not installed: pip install 'r2ad2[spark]'\n"


@pytest.fixture(scope="module")
def spark():
    """Start Spark with two Python workers; a task may fail once."""
    session = start_spark("local[2,2]")
    yield session
    session.stop()


@pytest.fixture(scope="module", autouse=True)
def quick_driver():
    """Let the driver load each model only once; the workers load it by themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(persistence, "load", functools.cache(persistence.load))
        yield


@pytest.fixture(scope="module")
def kdd(real_data, tmp_path_factory):
    """Train a small detector; return its file, published rows, and their scores."""
    folder = real_data / "nsl_kdd"
    train = pd.read_csv(folder / "KDDTrain+_20Percent.txt", header=None, names=NAMES, nrows=2000)
    settings = {"architecture": "10-5", "alarm_units": (32, 16, 8), "start_epoch": 1, "epochs": 2}
    settings |= {"n_snapshots": 1, "batch_size": 128, "scaling": "quantile", "random_state": 0}
    detector = R2AD2Detector(**settings)
    detector.fit(train[FEATURES], (train["class"] != "normal").astype(int))
    target = tmp_path_factory.mktemp("spark")
    model, path = detector.save(target / "kdd.keras"), target / "test.txt"
    with (folder / "KDDTest+.txt").open() as file:
        path.write_text("".join(itertools.islice(file, N_ROWS)))
    test = pd.read_csv(path, header=None, names=NAMES)
    expected = test.assign(
        score=detector.predict_proba(test[FEATURES])[:, 1],
        is_anomaly=detector.predict(test[FEATURES]) == 1,
        p_value=detector.p_values(test[FEATURES]),
    )
    return model, path, expected


def read_kdd(spark, path, n_partitions):
    """Read the rows with Spark; `row` is the number of the line."""
    types = {"string": TEXTS, "double": [name for name in FEATURES if name.endswith("rate")]}
    type_of = {name: kind for kind, names in types.items() for name in names}
    schema = ", ".join(f"`{name}` {type_of.get(name, 'bigint')}" for name in NAMES)
    from pyspark.sql.functions import monotonically_increasing_id

    rows = spark.read.csv(str(path), schema=schema)
    return rows.withColumn("row", monotonically_increasing_id()).repartition(n_partitions)


def check(scored, expected):
    scored = scored.sort_values("row", ignore_index=True)
    np.testing.assert_array_equal(scored.pop("row"), np.arange(len(expected)))
    assert list(scored) == list(expected)
    for name in ("score", "p_value"):
        np.testing.assert_allclose(scored[name], expected[name], rtol=0, atol=TOLERANCE)
    others = expected.columns.drop(["score", "p_value"])
    pd.testing.assert_frame_equal(scored[others], expected[others], check_dtype=False)


class TestOnOneMachine:
    pytestmark = needs_spark

    def test_scores_of_published_rows_are_those_in_memory(self, spark, kdd):
        model, path, expected = kdd
        scored = r2ad2.spark.score(
            read_kdd(spark, path, 4), model, is_anomaly_col="is_anomaly", p_value_col="p_value"
        )
        added = [(f.name, f.dataType.simpleString()) for f in scored.schema.fields[-3:]]
        assert added == [("score", "double"), ("is_anomaly", "boolean"), ("p_value", "double")]
        check(scored.toPandas(), expected)

    def test_each_worker_loads_once_after_the_fork_and_uses_one_thread(self, spark, kdd):
        model, path, _ = kdd
        from pyspark.sql.functions import pandas_udf

        def look(ids: pd.Series) -> pd.Series:
            import tensorflow as tf

            import r2ad2.spark as module

            found = [
                os.getpid(),
                [id(detector) for detector in module._loaded.values()],
                tf.config.threading.get_intra_op_parallelism_threads(),
                tf.config.threading.get_inter_op_parallelism_threads(),
            ]
            return pd.Series([json.dumps(found)] * len(ids))

        def workers():
            looked = spark.range(0, 8, 1, 4).select(pandas_udf(look, "string")("id").alias("found"))
            return {row["found"] for row in looked.collect()}

        for n_partitions in (2, 6):
            rows = r2ad2.spark.score(read_kdd(spark, path, n_partitions), model)
            assert rows.agg({"score": "max"}).collect()[0][0] <= 1
        found = [json.loads(text) for text in workers()]
        assert len(found) == len({pid for pid, *_ in found})
        assert all(len(loaded) == intra == inter == 1 for _, loaded, intra, inter in found), found
        # Spark forks its workers from a process that must not have initialised TensorFlow.
        if sys.platform == "linux":
            parents = {parent for pid, parent, _ in own_processes() if pid in {f[0] for f in found}}
            assert len(parents) == 1
            assert "tensorflow" not in Path(f"/proc/{parents.pop()}/maps").read_text()

    def test_killed_worker_loses_nothing(self, spark, kdd):
        model, path, expected = kdd
        scored = r2ad2.spark.score(
            read_kdd(spark, path, 8), model, is_anomaly_col="is_anomaly", p_value_col="p_value"
        )
        check(killing(spark, scored.toPandas, python_workers), expected)

    def test_types_nulls_and_time_zones(self, spark, tmp_path):
        rng = np.random.default_rng(0)
        X, y = table(rng)
        minutes = pd.to_timedelta(np.arange(len(X)) * 3_701, unit="min")
        when = pd.Timestamp("2024-01-01", tz="UTC") + minutes
        X = X.assign(
            when=when,
            day=[stamp.date() for stamp in when],
            price=[Decimal(i) / 4 for i in range(len(X))],
            code=rng.integers(0, 3, len(X)).astype(str),
            **{"odd.na`me": rng.random(len(X))},
            approved=rng.choice(["True", "False"], len(X)),
            rate=rng.choice(["0.5", "10", "2.25"], len(X)),
        ).astype({"count": "Int64", "flag": "boolean", "level": object})
        for i, name in enumerate(X.columns):
            X.loc[10 + i, name] = None
        detector = AEDetector(**QUICK, missing="indicator").fit(X, y)
        model = detector.save(tmp_path / "types.keras")
        columns = {
            name: [None if pd.isna(value) else value for value in X[name].astype(object).tolist()]
            for name in X.columns
        }
        columns["when"] = [None if v is None else v.to_pydatetime() for v in columns["when"]]
        columns["count"] = [None if v is None else int(v) for v in columns["count"]]
        columns["code"] = [None if v is None else int(v) for v in columns["code"]]
        # As Spark spells them, these texts would be other categories: true, 0.50.
        columns["approved"] = [None if v is None else v == "True" for v in columns["approved"]]
        columns["rate"] = [None if v is None else Decimal(v) for v in columns["rate"]]
        schema = (
            "amount double, count bigint, flag boolean, kind string, level string, when timestamp, "
            "day date, price decimal(10, 2), code int, `odd.na``me` double, "
            "approved boolean, rate decimal(10, 2), id int"
        )
        rows = list(zip(*columns.values(), range(len(X)), strict=True))
        df = spark.createDataFrame(rows, schema)
        expected = detector.predict_proba(X)[:, 1]
        found = r2ad2.spark.score(df, model).toPandas().sort_values("id")["score"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
        # Timestamps without a time zone count as UTC, as in pandas.
        naive = [(*row[:5], row[5] and row[5].replace(tzinfo=None), *row[6:]) for row in rows]
        df = spark.createDataFrame(naive, schema.replace("when timestamp", "when timestamp_ntz"))
        found = r2ad2.spark.score(df, model).toPandas().sort_values("id")["score"]
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)
        # "Never" is often written as a year that nanoseconds do not reach.
        never = datetime(9999, 12, 31)
        late = [(*row[:5], never, *row[6:]) for row in rows[:3]]
        df = spark.createDataFrame(late, schema.replace("when timestamp", "when timestamp_ntz"))
        scored = r2ad2.spark.score(df, model).select("id", "score")
        found = scored.toPandas().sort_values("id")["score"]
        expected = detector.predict_proba(X[:3].assign(when=[never] * 3))[:, 1]
        np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)

    def test_errors_before_the_job_and_in_it(self, spark, tmp_path):
        from pyspark.errors import PythonException
        from pyspark.sql.functions import lit

        X, y = table(np.random.default_rng(0))
        X = X.astype({"level": str})
        model = AEDetector(**QUICK, calibration_fraction=0.0).fit(X, y).save(tmp_path / "m.keras")
        numbers = DistanceDetector().fit(X[["amount"]].to_numpy(), y)
        of_arrays = numbers.save(tmp_path / "arrays.keras")
        df = spark.createDataFrame(X.assign(id=range(len(X))))
        for data, path, options, message in (
            (df.drop("kind", "flag"), model, {}, "missing column 'flag', 'kind'; add it"),
            (df.withColumn("amount", df["kind"]), model, {}, "'amount' has Spark type string"),
            (df.withColumn("kind", df["amount"]), model, {}, "cast it to string"),
            (df.select("*", "amount"), model, {}, "'amount' appears more than once"),
            (df.withColumnRenamed("id", "Amount"), model, {}, "set spark.sql.caseSensitive"),
            (df, model, {"output_col": "ID"}, "column 'ID' already exists"),
            (df, model, {"is_anomaly_col": "score"}, "column 'score' already exists"),
            (df, model, {"p_value_col": "p"}, "no p-values"),
            (df, of_arrays, {}, "trained on arrays"),
        ):
            with pytest.raises(ValueError, match=message):
                r2ad2.spark.score(data, path, **options)
        with pytest.raises(FileNotFoundError, match=r"none\.keras"):
            r2ad2.spark.score(df, tmp_path / "none.keras")
        with_null = df.withColumn("amount", lit(None))
        with pytest.raises(PythonException, match=r"missing values in column 'amount' \("):
            r2ad2.spark.score(with_null.limit(3), model).collect()
        assert r2ad2.spark.score(df.limit(0), model).collect() == []


class TestOnACluster:
    pytestmark = needs_spark

    def test_killed_executor_loses_nothing(self, kdd):
        """Two executors, each a process of its own with one core."""
        model, path, expected = kdd
        session = start_spark("local-cluster[2,1,1024]")
        try:
            scored = r2ad2.spark.score(
                read_kdd(session, path, 8),
                model,
                is_anomaly_col="is_anomaly",
                p_value_col="p_value",
            )
            check(killing(session, scored.toPandas, executors), expected)
        finally:
            session.stop()


def own_processes():
    """List process, parent and command of all descendants of this process, and of no other."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    parsed = [line.split(None, 2) for line in listed.splitlines()]
    table = [(int(pid), int(parent), command) for pid, parent, command in parsed]
    own = {os.getpid()}
    while True:
        found = {pid for pid, parent, _ in table if parent in own} - own
        if not found:
            return [entry for entry in table if entry[0] in own - {os.getpid()}]
        own |= found


def python_workers():
    daemons = {
        pid: parent for pid, parent, command in own_processes() if "pyspark.daemon" in command
    }
    return [pid for pid, parent in daemons.items() if parent in daemons]


def executors():
    return [p for p, _, command in own_processes() if "CoarseGrainedExecutorBackend" in command]


def killing(spark, job, find_victims):
    """Run a job, kill a process when a part of it is done, and return the job's result."""
    tracker = spark.sparkContext.statusTracker()
    seen = set()

    def completed_tasks():
        seen.update(tracker.getActiveStageIds())
        infos = [tracker.getStageInfo(stage) for stage in seen]
        return sum(info.numCompletedTasks for info in infos if info is not None)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(job)
        # The first completed task has read the file, the second has scored rows.
        while completed_tasks() < 2:
            assert not running.done(), running.exception()
            time.sleep(0.01)
        victim = find_victims()[0]
        os.kill(victim, signal.SIGKILL)
        assert not running.done()
        result = running.result(timeout=200)
    assert victim not in find_victims()
    return result
