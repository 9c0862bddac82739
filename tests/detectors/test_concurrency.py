"""One detector used by many threads, processes and calls."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from r2ad2.benchmark.load import closed_loop, memory_slope
from r2ad2.benchmark.measure import in_fresh_process
from r2ad2.encoders.tables import NUMBERS
from r2ad2.support.screen import import_tensorflow_quietly
from tests.fixtures.make import training_table
from tests.fuzzing.surfaces import table_detector

TABLE, _ = training_table()


def score_parts(first: int) -> list[np.ndarray]:
    """Score pieces of different sizes, from a row on, in this process."""
    pieces = [TABLE.iloc[first + start : first + start + 1 + start] for start in range(8)]
    return [table_detector().predict_proba(piece)[:, 1] for piece in pieces]


def assert_equal_parts(answers, expected):
    for answer, parts in zip(answers, expected, strict=True):
        for found, right in zip(answer, parts, strict=True):
            np.testing.assert_array_equal(found, right)


def test_eight_threads_get_the_scores_of_one():
    expected = [score_parts(first) for first in range(24)]
    with ThreadPoolExecutor(8) as pool:
        assert_equal_parts(pool.map(score_parts, range(24)), expected)


@pytest.mark.slow
def test_four_processes_get_the_scores_of_one():
    expected = [score_parts(first) for first in range(8)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(4, context, initializer=import_tensorflow_quietly) as pool:
        assert_equal_parts(pool.map(score_parts, range(8), chunksize=2), expected)


def measure_many_calls() -> dict[str, float]:
    """Score single rows; new tables every time, as pandas keeps up to 500 references per table."""
    detector = table_detector()
    return memory_slope(lambda i: detector.predict_proba(TABLE.iloc[[i % len(TABLE)]].copy()), 5000)


@pytest.mark.slow
def test_many_calls_take_no_memory():
    """In a new process, so that the memory of other tests does not disturb the measurement."""
    figures = in_fresh_process(measure_many_calls)
    assert figures["final_resident_bytes"] - figures["resident_bytes"] < 4 * 2**20


@pytest.mark.slow
def test_an_exported_model_serves_many_clients(tmp_path):
    detector = table_detector()
    served = tf.saved_model.load(str(detector.export(tmp_path / "1")))
    score = served.signatures["serving_default"]
    encoder = detector.pipeline_.encoder
    prepared = encoder.prepare(TABLE.dropna())
    prepared |= dict(zip(encoder.number_names, prepared.pop(NUMBERS).T, strict=True))
    _, specs = score.structured_input_signature
    rows = [
        {name: tf.cast(prepared[name][i : i + 1], specs[name].dtype) for name in encoder.columns}
        for i in range(len(TABLE) // 2)
    ]
    expected = detector.predict_proba(TABLE.dropna())[:, 1]

    def request(number):
        found = score(**rows[number % len(rows)])["score"].numpy()
        np.testing.assert_allclose(found, expected[number % len(rows)][np.newaxis], atol=1e-6)

    figures = closed_loop(request, clients=6, seconds=5)
    assert figures["errors"] == 0
    assert figures["requests"] > 100


def test_errors_under_load_are_counted():
    def fail(number):
        if number % 2:
            raise OSError("no answer")

    figures = closed_loop(fail, clients=2, seconds=0.2)
    assert figures["errors"] > 0
