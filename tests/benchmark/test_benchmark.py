"""`r2ad2 benchmark` measures what it says: counts, rows, options. Times are not asserted.

Only the test of the command measures the machine and starts processes; both take long.
"""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

import r2ad2.benchmark
from r2ad2 import R2AD2, Autoencoder
from r2ad2.benchmark import run_benchmark, scoring, serving, training
from r2ad2.benchmark.training import training_arithmetic
from r2ad2.cli.main import app

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed"
)


@pytest.fixture
def quick(monkeypatch):
    """Measure in this process, on a machine of made-up rates."""
    rates = {"float32_flops": 1e11, "bfloat16_flops": 2e11, "copy_bytes": 1e10}
    monkeypatch.setattr(r2ad2.benchmark, "measure_machine", lambda: rates)
    for module in (scoring, serving, training):
        monkeypatch.setattr(
            module, "in_fresh_process", lambda function, **kwargs: function(**kwargs)
        )


def matrix_product_operations(function) -> int:
    """Count the operations of all matrix products in a traced function's optimised graph."""
    concrete = function.get_concrete_function()
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    counted = tf.compat.v1.profiler.profile(concrete.graph, cmd="scope", options=options)
    return counted.total_float_ops


@pytest.mark.parametrize("n_snapshots", [1, 3])
def test_the_counted_arithmetic_is_that_of_the_graph(n_snapshots):
    units, batch_size = (64, 32, 16), 32
    snapshots = [Autoencoder("20", input_shape=(40,), seed=k) for k in range(n_snapshots)]
    model = R2AD2(snapshots, alarm_units=units, seed=0, dropout=0.0)
    model.compile()
    x, y = tf.ones((batch_size, 40)), tf.zeros((batch_size, 1))
    step = tf.function(lambda: model.train_step((x, y))["loss"], autograph=False)
    expected = training_arithmetic(model.n_features, n_snapshots, units, batch_size)
    # The graph also has the autoencoders' products and element-wise operations.
    assert expected < matrix_product_operations(step) < 1.15 * expected


def test_arithmetic_of_the_published_settings():
    operations = training_arithmetic(12_012, 3, (1000, 500, 200, 75), 512)
    assert operations == pytest.approx(1.0e12, rel=0.03)


@pytest.mark.slow
def test_gradient_benchmark_from_the_command_line(tmp_path):
    output = tmp_path / "gradients.json"
    arguments = ["benchmark", "gradients", "--output", str(output)]
    for option in ("batch_size=8", "repeats=1", "networks=('dense',)"):
        arguments += ["--set", option]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    written = json.loads(output.read_text())
    (row,) = written["rows"]
    assert row["gradient_size"] == 12_012
    assert row["ratio"] == pytest.approx(row["ours_per_second"] / row["reference_per_second"])
    machine = written["machine"]
    assert machine["float32_flops"] > 0
    # Writing one sample's 12,012 floats takes half as long as copying them.
    expected = machine["copy_bytes"] / 2 / (4 * 12_012)
    assert row["memory_bound_per_second"] == pytest.approx(expected)
    assert "reference per second" in result.output


def test_training_benchmark_measures_the_settings_asked_for(quick):
    options = {"n_features": 10, "architecture": "6-3", "batch_size": 16, "repeats": 1}
    options |= {"n_samples": 100, "n_snapshots": 1, "settings": "fast", "whole": "50x3"}
    *rows, whole = run_benchmark("training", **options)["rows"]
    assert [row["setting"] for row in rows] == ["paper, plain formulation", "fast"]
    assert whole["setting"] == "forest, 50 x 3, whole training"
    assert whole["training_seconds"] > 0
    for row in rows:
        assert row["step_seconds"] > 0
        assert row["bound_seconds"] == row["operations"] / 1e11
        steps = 7  # 100 samples in batches of 16
        assert row["epoch_seconds"] == pytest.approx(steps * row["step_seconds"])
    assert not any("faster_than_paper" in row for row in rows)  # "paper" was not asked for


def test_scoring_benchmark_measures_rows_per_second(quick):
    (row,) = run_benchmark("scoring", rows=20, features=5, n_snapshots=1, repeats=1)["rows"]
    assert row["input_bytes"] == 20 * 5 * 8
    assert row["rows_per_second"] == pytest.approx(20 / row["seconds"])


def test_scoring_benchmark_varies_one_size_at_a_time(quick, monkeypatch):
    monkeypatch.setattr(scoring, "in_fresh_process", lambda function, **kwargs: {})
    cases = run_benchmark("scoring", rows=(20, 40), features=(5, 7), n_snapshots=(2, 1))["rows"]
    sizes = [(row["rows"], row["features"], row["n_snapshots"]) for row in cases]
    assert sizes == [(20, 5, 2), (40, 5, 2), (20, 7, 2), (20, 5, 1)]


@needs_jax
def test_jax_gives_the_same_gradients():
    from r2ad2.benchmark.jax_reference import jax_gradients
    from r2ad2.gradients import PerSampleGradients

    for architecture, shape in [("6-3", (10,)), ("8C3-8C3-8", (28, 28, 1))]:
        model = Autoencoder(architecture, input_shape=shape, seed=0, dropout=0.0)
        x = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
        theirs = np.asarray(jax_gradients(model, x)())
        np.testing.assert_allclose(PerSampleGradients(model)(x), theirs, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cooking", {}, "gradients, training, scoring"),
        ("scoring", {"colour": 1}, "no option 'colour'"),
        ("scoring", {"rows": "many"}, "rows must be a positive whole number"),
        ("scoring", {"repeats": 0}, "repeats"),
        ("training", {"settings": "quick"}, "unknown setting 'quick'"),
        ("training", {"settings": (), "plain": False, "whole": "5 by 3"}, "rows x columns"),
        ("gradients", {"networks": ("deep",)}, "unknown network 'deep'"),
    ],
)
def test_unknown_benchmarks_and_options_are_named(quick, name, options, message):
    with pytest.raises(ValueError, match=message):
        run_benchmark(name, **options)


@pytest.mark.slow
def test_serving_benchmark_measures_all_graphs(quick):
    result = run_benchmark(
        "serving",
        batch_sizes=(2,),
        presets=("fast",),
        features=20,
        repeats=3,
        training_rows=400,
    )
    (row,) = result["rows"]
    assert (row["preset"], row["batch_size"]) == ("fast", 2)
    assert row["weights"] > 20 * 40  # of the autoencoder's first layer alone
    assert row["rows_per_second"] == pytest.approx(2e3 / row["median_milliseconds"])
    assert row["plain_median_milliseconds"] > 0
    if importlib.util.find_spec("onnxruntime"):
        assert row["onnx_rows_per_second"] == pytest.approx(2e3 / row["onnx_median_milliseconds"])
        assert row["onnx_threads"] >= 1


@pytest.mark.parametrize(("most_seconds", "expected"), [(1e9, 15), (0.0, 10)])
def test_slow_requests_are_measured_fewer_times(monkeypatch, most_seconds, expected):
    monkeypatch.setattr(serving, "_MOST_SECONDS", most_seconds)
    calls = []
    assert len(serving._latencies(lambda: calls.append(1), repeats=15)) == expected
    assert len(calls) == expected + 3  # the first three are not counted
