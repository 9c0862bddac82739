"""The exported SavedModel as a server uses it: without this package, from requests to answers."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import textwrap

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from r2ad2 import GradientForestDetector, R2AD2Detector
from r2ad2.serving import savedmodel
from r2ad2.serving.inputs import input_names
from tests.helpers.commands import run
from tests.helpers.detectors import SMALL, DistanceDetector
from tests.helpers.serving import assert_equal_answers, tensors
from tests.helpers.tables import table


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Train on a mixed table and export; return the detector, the table and the folder."""
    X, y = table(np.random.default_rng(0))
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(len(X)) * 3_701, unit="s")
    X = X.rename(columns={"kind": "class", "level": "Höhe (m)"}).assign(when=when)
    detector = R2AD2Detector(**SMALL, false_positive_rate=0.1).fit(X, y)
    folder = tmp_path_factory.mktemp("serving")
    return detector, X, detector.export(folder / "7")


@pytest.mark.parametrize("n", [1, 200, 10_000])
def test_named_columns_in_batches_of_any_size(exported, n):
    detector, X, folder = exported
    rows = X.sample(n, replace=True, random_state=0)
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    assert_equal_answers(serve(**tensors(rows)), detector, rows)


def test_examples(exported):
    detector, X, folder = exported
    X = X.head(20)
    examples = []
    for _, row in X.iterrows():
        features = {
            "amount": tf.train.Feature(float_list=tf.train.FloatList(value=[row["amount"]])),
            "when": tf.train.Feature(
                int64_list=tf.train.Int64List(value=[int(row["when"].timestamp())])
            ),
        }
        for name in ("count", "flag"):
            value = tf.train.Int64List(value=[int(row[name])])
            features[name] = tf.train.Feature(int64_list=value)
        for name in ("class", "Höhe (m)"):
            value = tf.train.BytesList(value=[str(row[name]).encode()])
            features[name] = tf.train.Feature(bytes_list=value)
        example = tf.train.Example(features=tf.train.Features(feature=features))
        examples.append(example.SerializeToString())
    serve = tf.saved_model.load(folder).signatures["serve_examples"]
    # Numbers in examples are float32.
    as_sent = X.assign(amount=X["amount"].astype(np.float32))
    assert_equal_answers(serve(examples=tf.constant(examples)), detector, as_sent)


def test_explanations(exported):
    detector, X, folder = exported
    X = X.head(20)
    answers = tf.saved_model.load(folder).signatures["explain"](**tensors(X))
    expected = detector.explain(X)
    assert [name.decode() for name in answers["features"].numpy()[3]] == list(X.columns)
    attributions = answers["attributions"].numpy()
    np.testing.assert_allclose(
        attributions.sum(axis=1), answers["score"] - answers["baseline_score"], atol=1e-6
    )
    # The orders of the columns differ, but the attributions are close on average.
    difference = attributions - expected.features.to_numpy()
    assert np.abs(difference).mean() < 0.1 * expected.features.abs().mean().mean() + 1e-3
    assert answers["baseline_score"].numpy()[0] == pytest.approx(expected.baseline_score, abs=1e-6)


def test_a_process_without_this_package(exported, tmp_path):
    """With -S, packages installed in editable mode are not found: only TensorFlow is available."""
    detector, X, folder = exported
    rows = X.head(50)
    np.savez(tmp_path / "rows.npz", **{k: v.numpy() for k, v in tensors(rows).items()})
    code = """
        import importlib.util, sys
        sys.path.append(sys.argv[1])
        assert importlib.util.find_spec("r2ad2") is None
        import numpy as np, tensorflow as tf
        rows = np.load(sys.argv[2] + "/rows.npz", allow_pickle=True)
        serve = tf.saved_model.load(sys.argv[3]).signatures["serving_default"]
        answers = serve(**{name: tf.constant(rows[name]) for name in rows})
        np.savez(sys.argv[2] + "/answers.npz", **{k: v.numpy() for k, v in answers.items()})
        assert "r2ad2" not in sys.modules
    """
    packages = sysconfig.get_paths()["purelib"]
    command = [sys.executable, "-I", "-S", "-c", textwrap.dedent(code), packages]
    done = subprocess.run(
        [*command, str(tmp_path), str(folder)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert_equal_answers(np.load(tmp_path / "answers.npz"), detector, rows)


LOAD_IN_2_20 = """
    import sys
    import numpy as np, tensorflow as tf
    assert tf.__version__.startswith("2.20."), tf.__version__
    rows = np.load(sys.argv[1] + "/rows.npz", allow_pickle=True)
    signatures = tf.saved_model.load(sys.argv[2]).signatures
    given = {name: tf.constant(rows[name]) for name in rows}
    answers = signatures["serving_default"](**given)
    signatures["explain"](**{name: values[:2] for name, values in given.items()})
    np.savez(sys.argv[1] + "/answers.npz", **{k: v.numpy() for k, v in answers.items()})
"""


@pytest.mark.slow
def test_the_tensorflow_of_the_newest_tensorflow_serving(exported, tmp_path):
    """TensorFlow 2.20 in an environment of its own knows every operation of the graphs."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=120)
    python = environment / "bin" / "python"
    install = [python, "-I", "-m", "pip", "install", "--quiet", "tensorflow==2.20.*"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=900)
    if done.returncode:
        pytest.skip(f"TensorFlow 2.20 cannot be installed here: {done.stderr.strip()[-200:]}")
    detector, X, folder = exported
    X, y = X.head(100), np.arange(100) % 8 == 0
    settings = {"n_trees": 10, "start_epoch": 1, "snapshot_interval": 1, "random_state": 0}
    forest = GradientForestDetector(**settings).fit(X, y.astype(int))
    np.savez(tmp_path / "rows.npz", **{k: v.numpy() for k, v in tensors(X).items()})
    for each, model in ((detector, folder), (forest, forest.export(tmp_path / "forest" / "1"))):
        done = subprocess.run(
            [python, "-I", "-c", textwrap.dedent(LOAD_IN_2_20), str(tmp_path), str(model)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert_equal_answers(np.load(tmp_path / "answers.npz"), each, X)


def test_requests_of_tensorflow_serving(exported):
    """gRPC's messages and REST's JSON, mapped onto the signature as the server does."""
    predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    prediction_log_pb2 = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    detector, X, folder = exported
    X = X.head(5)
    serve = tf.saved_model.load(folder).signatures["serving_default"]

    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "serving_default"
    for name, values in tensors(X).items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    request = predict_pb2.PredictRequest.FromString(request.SerializeToString())
    sent = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
    assert_equal_answers(serve(**sent), detector, X)

    columns = {name: values.numpy().tolist() for name, values in tensors(X).items()}
    rows = [
        {k: v.decode() if isinstance(v, bytes) else v for k, v in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]
    instances = json.loads(json.dumps({"instances": rows}))["instances"]
    types = {name: spec.dtype for name, spec in serve.structured_input_signature[1].items()}
    received = {name: tf.constant([row[name] for row in instances], types[name]) for name in types}
    assert_equal_answers(serve(**received), detector, X)

    warmups = tf.data.TFRecordDataset(folder / "assets.extra" / "tf_serving_warmup_requests")
    sizes = []
    for record in warmups.as_numpy_iterator():
        warmup = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        assert warmup.model_spec.signature_name == "serving_default"
        sent = {name: tf.constant(tf.make_ndarray(value)) for name, value in warmup.inputs.items()}
        answers = serve(**sent)
        assert np.isfinite(answers["score"]).all()
        sizes.append(len(answers["score"]))
    assert sizes == [1, 32]


def test_numbers_that_are_not_finite_are_refused_by_column(exported):
    _, X, folder = exported
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    bad = X.head(3).assign(amount=[1.0, np.nan, 2.0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="column amount holds NaN"):
        serve(**tensors(bad))


def test_missing_values_are_scored_if_training_allowed_them(tmp_path):
    X, y = table(np.random.default_rng(0))
    X = X[["amount", "count", "kind"]]
    X.loc[::9, "amount"] = np.nan
    X.loc[::7, "kind"] = None
    detector = DistanceDetector(missing="indicator").fit(X, y)
    loaded = tf.saved_model.load(detector.export(tmp_path))
    answers = loaded.signatures["serving_default"](
        amount=tf.constant(X["amount"]),
        count=tf.constant(X["count"], tf.float64),
        kind=tf.constant(X["kind"].fillna("").to_numpy(dtype=object)),
    )
    assert_equal_answers(answers, detector, X)


class QuantileDetector(DistanceDetector):
    scaling = "quantile"


def test_quantiles_are_exported(rng, tmp_path):
    X, y = table(rng)
    X = X.assign(amount=np.exp(X["amount"] / 10))
    detector = QuantileDetector().fit(X, y)
    serve = tf.saved_model.load(detector.export(tmp_path)).signatures["serving_default"]
    for rows in (X, X.assign(amount=-1e200 * X["amount"])):
        columns = {
            name: rows[name].astype(str).to_numpy(dtype=object)
            if name in ("kind", "level")
            else rows[name].to_numpy()
            for name in rows
        }
        answers = serve(**{name: tf.constant(column) for name, column in columns.items()})
        assert_equal_answers(answers, detector, rows)


@pytest.mark.parametrize("kind", ["vectors", "bytes", "floats"])
def test_arrays_and_images(kind, rng, tmp_path):
    X = {
        "vectors": rng.random((40, 3)) * 1e6,
        "bytes": rng.integers(0, 256, (40, 8, 6), dtype=np.uint8),
        "floats": rng.random((40, 8, 6, 2), dtype=np.float32),
    }[kind]
    small = SMALL | {"architecture": "2C3-2", "n_snapshots": 1}
    # One detector has the gradients of images in its graph; the inputs are what matters here.
    detector = (R2AD2Detector(**small) if kind == "bytes" else DistanceDetector()).fit(X)
    loaded = tf.saved_model.load(detector.export(tmp_path))
    samples = X if X.ndim != 3 else X[..., np.newaxis]
    answers = loaded.signatures["serving_default"](inputs=tf.constant(samples))
    assert_equal_answers(answers, detector, X)
    explained = loaded.signatures["explain"](inputs=tf.constant(samples[:2]))
    assert len(explained["attributions"]) == 2
    for signature in ("serving_default", "explain"):  # pooling must not see an empty batch
        answers = loaded.signatures[signature](inputs=tf.constant(samples[:0]))
        assert {name: len(answer) for name, answer in answers.items()} == dict.fromkeys(answers, 0)
    examples = []
    for sample in samples:
        values = sample.ravel().tolist()
        feature = (
            tf.train.Feature(int64_list=tf.train.Int64List(value=values))
            if kind == "bytes"
            else tf.train.Feature(float_list=tf.train.FloatList(value=values))
        )
        features = tf.train.Features(feature={"inputs": feature})
        examples.append(tf.train.Example(features=features).SerializeToString())
    answers = loaded.signatures["serve_examples"](examples=tf.constant(examples))
    assert_equal_answers(answers, detector, X.astype(np.float32) if kind == "vectors" else X)


def test_detectors_without_calibration_give_no_p_value(rng, tmp_path):
    detector = DistanceDetector(calibration_fraction=0.0).fit(rng.random((40, 3)))
    loaded = tf.saved_model.load(detector.export(tmp_path))
    answers = loaded.signatures["serving_default"](inputs=tf.zeros((2, 3), tf.float64))
    assert set(answers) == {"score", "is_anomaly"}


def test_versions_are_numbered_and_never_overwritten(rng, tmp_path, monkeypatch):
    detector = DistanceDetector().fit(rng.random((40, 3)))
    assert detector.export(tmp_path).name == "1"
    assert detector.export(tmp_path).name == "2"
    with pytest.raises(FileExistsError, match=r"/2' already exists"):
        detector.export(tmp_path / "2")
    (tmp_path / "2").rename(tmp_path / "10")
    assert detector.export(tmp_path).name == "11"

    def fail(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr("r2ad2.serving.savedmodel.write_warmup", fail)
    with pytest.raises(OSError, match="No space"):
        detector.export(tmp_path)
    # The folder that a server watches is unchanged.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "10", "11"]


def test_export_from_the_command_line(exported, tmp_path, capsys):
    detector, X, _ = exported
    model = detector.save(tmp_path / "model.keras")
    assert run("export", "--model", model, "--output", tmp_path / "serving" / "3") == 0
    assert "serving/3" in capsys.readouterr().out.replace("\n", "")
    loaded = tf.saved_model.load(tmp_path / "serving" / "3")
    assert_equal_answers(loaded.signatures["serving_default"](**tensors(X)), detector, X)
    assert run("export", "--model", model, "--output", tmp_path / "serving" / "3") == 2
    assert "already exists" in capsys.readouterr().err


def test_names_of_inputs():
    assert input_names(["a", "mean radius", "class", "1st", "a%", "a!", "ü", "self"]) == {
        "a": "a",
        "mean radius": "mean_radius",
        "class": "class_",
        "1st": "column_1st",
        "a%": "a_",
        "a!": "a__2",
        "ü": "column",
        "self": "self_",
    }
    # A column's own name has priority.
    assert input_names([" x", "X", "x", "X_2"]) == {" x": "x_3", "X": "X", "x": "x_4", "X_2": "X_2"}


ODD_NAMES = [
    "0",
    " x",
    "%cpu",
    "_x",
    "температура",
    "温度",
    "A",
    "a",
    "",
    "a|b",
    "x_2",
    "self",
    "x\ny",
]


def test_columns_of_any_name_are_exported_each_with_an_alias(rng, tmp_path):
    X = pd.DataFrame(rng.random((40, len(ODD_NAMES))), columns=ODD_NAMES)
    X["A"] = np.where(X["A"] > 0.5, "high", "low")
    detector = DistanceDetector(random_state=0).fit(X)
    folder = detector.export(tmp_path / "1")
    columns = json.loads((folder / "assets.extra" / "columns.json").read_text("utf-8"))
    assert sorted(columns.values()) == sorted(ODD_NAMES)
    assert len({alias.lower() for alias in columns}) == len(ODD_NAMES)
    loaded = tf.saved_model.load(folder)
    inputs = {
        alias: tf.constant(X[name].to_numpy(object if name == "A" else float))
        for alias, name in columns.items()
    }
    serve = loaded.signatures["serving_default"]
    assert set(serve.structured_input_signature[1]) == set(columns)
    assert_equal_answers(serve(**inputs), detector, X)
    assert loaded.signatures["explain"](**inputs)["features"][0].numpy().tolist() == [
        name.encode() for name in ODD_NAMES
    ]
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={
                    name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
                    if name == "A"
                    else tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
                    for name, value in row.items()
                }
            )
        ).SerializeToString()
        for row in X.to_dict("records")
    ]
    answers = loaded.signatures["serve_examples"](tf.constant(examples))
    np.testing.assert_allclose(answers["score"], detector.predict_proba(X)[:, 1], atol=1e-6)
    listed = (folder / "assets.extra" / "README.md").read_text("utf-8")
    assert '| `column_0` | `"0"` | float64 | (batch) |' in listed
    assert '| `column` | `"температура"` |' in listed
    assert len(listed.splitlines()) == 6 + len(ODD_NAMES)


def test_models_of_very_many_columns_are_exported_without_explanations(
    rng, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(savedmodel, "_MOST_EXPLAINED", 2)
    folder = DistanceDetector(random_state=0).fit(rng.random((40, 3))).export(tmp_path / "1")
    assert set(tf.saved_model.load(folder).signatures) == {"serving_default", "serve_examples"}
    assert "no signature 'explain': it has 3 columns, more than 2" in caplog.text
