"""The exported ONNX file as users have it: raw rows in, scores out, without this package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pandas as pd
import pytest

import r2ad2
from r2ad2 import GradientForestDetector, R2AD2Detector
from r2ad2.serving.onnx.encoders import input_names
from r2ad2.serving.onnx.registry import NotExportableError
from r2ad2.support.extras import MissingExtraError
from tests.helpers.commands import run
from tests.helpers.detectors import DistanceDetector, DistanceScorer
from tests.helpers.onnx import answers, assert_equal_scores, feeds, session
from tests.helpers.tables import table

onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
FOREST = {"n_trees": 15, "start_epoch": 2, "snapshot_interval": 1, "random_state": 0}


def mixed_table(n=240):
    X, y = table(np.random.default_rng(0), n)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(n) * 3_701.5, unit="s")
    return X.rename(columns={"level": "Höhe (m)"}).assign(when=when, other=when[::-1]), y


def with_missing_values(X):
    X = X.copy()
    X.loc[::9, "amount"] = np.nan
    X.loc[::7, "kind"] = None
    X.loc[::11, "when"] = pd.NaT
    return X


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Train a forest on a mixed table, save and export it; return detector, table, folder."""
    X, y = mixed_table()
    detector = GradientForestDetector(**FOREST, false_positive_rate=0.1).fit(X, y)
    folder = tmp_path_factory.mktemp("onnx")
    detector.save(folder / "model.keras")
    assert detector.export(folder / "model.onnx") == folder / "model.onnx"
    return detector, X, folder


@pytest.fixture(scope="module")
def exported_with_missing(tmp_path_factory):
    X, y = mixed_table()
    X = with_missing_values(X)
    detector = GradientForestDetector(**FOREST, missing="indicator").fit(X, y)
    return detector, X, detector.export(tmp_path_factory.mktemp("onnx") / "model.onnx")


@pytest.mark.parametrize("n", [1, 2, 240, pytest.param(10_000, marks=pytest.mark.slow)])
def test_scores_of_batches_of_any_size(exported, n):
    detector, X, folder = exported
    rows = X.sample(n, replace=True, random_state=0).reset_index(drop=True)
    assert_equal_scores(answers(session(folder / "model.onnx"), rows), detector, rows)


def test_an_empty_batch(exported):
    _, X, folder = exported
    found = answers(session(folder / "model.onnx"), X.head(0))
    assert {name: values.shape for name, values in found.items()} == {
        "score": (0,),
        "is_anomaly": (0,),
        "p_value": (0,),
    }


def test_values_that_did_not_occur_in_training(exported):
    detector, X, folder = exported
    rows = X.head(8).assign(
        kind=["never seen", "", "ß", "a" * 10_000, "\x00", "a ", "A", "日本"],
        amount=[1e300, -1e300, 0.0, -0.0, 5e-324, 1e-300, 1e16, np.finfo(float).max],
        count=[2**53 + 1, -(2**62), 0, 1, -1, 3, 9, 2**40],
        when=pd.to_datetime(
            ["1700-01-01", "2260-01-01", "1969-12-31T23:59:59.999", *5 * ["2024-02-29"]],
            format="ISO8601",
        ),
    )
    assert_equal_scores(answers(session(folder / "model.onnx"), rows), detector, rows)


def test_codes_are_the_same_whether_they_end_in_zero(tmp_path):
    X, y = table(np.random.default_rng(0))
    X = X[["amount"]].assign(port=np.where(y == 1, "80", "443.0"))
    detector = GradientForestDetector(**FOREST).fit(X, y)
    path = detector.export(tmp_path / "model.onnx")
    other = X.assign(port=np.where(y == 1, "80.0", "443"))
    for rows in (X, other):
        assert_equal_scores(answers(session(path), rows), detector, rows)
    np.testing.assert_array_equal(detector.predict_proba(other), detector.predict_proba(X))


def test_missing_values_where_training_allowed_them(exported_with_missing):
    detector, X, path = exported_with_missing
    assert_equal_scores(answers(session(path), X), detector, X)
    all_missing = X.head(2).assign(amount=np.nan, kind=None, when=pd.NaT)
    assert_equal_scores(answers(session(path), all_missing), detector, all_missing)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_cannot_be_scored_give_no_score(exported, value):
    _, X, folder = exported
    rows = X.head(3).assign(amount=[value, 100.0, 100.0])
    found = answers(session(folder / "model.onnx"), rows)
    assert np.isnan([found["score"][0], found["p_value"][0]]).all()
    assert not found["is_anomaly"][0]
    assert np.isfinite([*found["score"][1:], *found["p_value"][1:]]).all()


def test_infinity_gives_no_score_even_where_values_may_be_missing(exported_with_missing):
    _, X, path = exported_with_missing
    found = answers(session(path), X.head(2).assign(amount=[np.inf, np.nan]))
    assert np.isnan(found["score"]).tolist() == [True, False]


def test_inputs_and_outputs(exported):
    _, _, folder = exported
    opened = session(folder / "model.onnx")
    assert {each.name: (each.type, each.shape) for each in opened.get_inputs()} == {
        "amount": ("tensor(double)", ["batch", 1]),
        "count": ("tensor(int64)", ["batch", 1]),
        "flag": ("tensor(bool)", ["batch", 1]),
        "kind": ("tensor(string)", ["batch", 1]),
        "Höhe (m)": ("tensor(string)", ["batch", 1]),
        "when": ("tensor(int64)", ["batch", 1]),
        "other": ("tensor(int64)", ["batch", 1]),
    }
    assert [(each.name, each.type, each.shape) for each in opened.get_outputs()] == [
        ("score", "tensor(float)", ["batch"]),
        ("is_anomaly", "tensor(bool)", ["batch"]),
        ("p_value", "tensor(float)", ["batch"]),
    ]


def test_metadata_say_which_model_it_came_from(exported):
    _, X, folder = exported
    model = onnx.load(folder / "model.onnx")
    metadata = {each.key: each.value for each in model.metadata_props}
    assert metadata["r2ad2.version"] == r2ad2.__version__
    assert (folder / "model.keras").read_bytes().endswith(metadata["r2ad2.model_sha256"].encode())
    columns = json.loads(metadata["r2ad2.columns"])
    assert [each["column"] for each in columns.values()] == list(X.columns)
    assert columns["when"]["unit"] == "ns"
    assert [(each.domain, each.version) for each in model.opset_import] == [
        ("", 17),
        ("ai.onnx.ml", 3),
    ]
    loaded = r2ad2.load(folder / "model.keras").export(folder / "again.onnx")
    again = {each.key: each.value for each in onnx.load(loaded).metadata_props}
    assert again == metadata


def test_export_from_the_command_line(exported, tmp_path, capsys):
    detector, X, folder = exported
    path = tmp_path / "new" / "model.onnx"
    assert run("export", "--model", folder / "model.keras", "--output", path) == 0
    assert "model.onnx" in capsys.readouterr().out.replace("\n", "")
    assert_equal_scores(answers(session(path), X), detector, X)


@pytest.mark.parametrize(
    "kind",
    ["vectors", "missing", *(pytest.param(k, marks=pytest.mark.slow) for k in ("bytes", "floats"))],
)
def test_arrays_and_images(kind, rng, tmp_path):
    X = {
        "vectors": rng.random((40, 3)) * 1e6,
        "missing": np.where(rng.random((40, 3)) < 0.1, np.nan, rng.random((40, 3))),
        "bytes": rng.integers(0, 256, (40, 8, 6), dtype=np.uint8),
        "floats": rng.random((40, 8, 6, 2), dtype=np.float32) * 7 - 3,
    }[kind]
    missing = "indicator" if kind == "missing" else "error"
    detector = GradientForestDetector(**FOREST, missing=missing).fit(X)
    opened = session(detector.export(tmp_path / "model.onnx"))
    assert_equal_scores(answers(opened, X), detector, X)
    assert len(answers(opened, X[:0])["score"]) == 0
    if kind in ("vectors", "floats"):
        X[3].flat[0] = np.nan
        assert np.flatnonzero(np.isnan(answers(opened, X)["score"])).tolist() == [3]


def test_a_range_beyond_the_largest_double(tmp_path):
    X = pd.DataFrame({"a": np.arange(-20, 20) / 20 * 1.7e308, "b": np.arange(40.0)})
    detector = GradientForestDetector(**FOREST).fit(X)
    assert_equal_scores(answers(session(detector.export(tmp_path / "m.onnx")), X), detector, X)


def test_detectors_without_calibration_give_no_p_value(rng, tmp_path):
    X = rng.random((40, 3))
    detector = GradientForestDetector(**FOREST, calibration_fraction=0.0).fit(X)
    opened = session(detector.export(tmp_path / "model.onnx"))
    assert [each.name for each in opened.get_outputs()] == ["score", "is_anomaly"]


def test_names_of_inputs():
    names = ["a b", "", "score", "score_", "column_", "Add/3", "温度", "is_anomaly", "a/b"]
    assert input_names(names) == {
        "a b": "a b",
        "": "column__",
        "score": "score__",
        "score_": "score_",
        "column_": "column_",
        "Add/3": "Add/3_",
        "温度": "温度",
        "is_anomaly": "is_anomaly_",
        "a/b": "a/b",
    }


def test_columns_of_any_name(rng, tmp_path):
    names = ["0", " x", "", "温度", "score", "a|b", "x\ny", "Concat/1", "p_value", "p_value_"]
    X = pd.DataFrame(rng.random((40, len(names))), columns=names)
    detector = GradientForestDetector(**FOREST).fit(X)
    path = detector.export(tmp_path / "model.onnx")
    metadata = {each.key: each.value for each in onnx.load(path).metadata_props}
    columns = {name: each["column"] for name, each in json.loads(metadata["r2ad2.columns"]).items()}
    assert sorted(columns.values()) == sorted(names)
    renamed = pd.DataFrame({name: X[column] for name, column in columns.items()})
    assert_equal_scores(answers(session(path), renamed), detector, X)


# ---- failures -------------------------------------------------------------------------------


def test_a_layer_that_cannot_be_exported_is_named_before_anything_is_written(rng, tmp_path):
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(2, "gelu", name="squeezed")(inputs)
    autoencoder = keras.Model(inputs, keras.layers.Dense(3, "sigmoid")(hidden))
    detector = GradientForestDetector(**FOREST | {"architecture": autoencoder})
    detector.fit(rng.random((40, 3)))
    earlier = tmp_path / "model.onnx"
    earlier.write_text("earlier")
    with pytest.raises(NotExportableError, match=r"layer 'squeezed' \(Dense\).*'gelu'.*train with"):
        detector.export(earlier)
    assert earlier.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [earlier]
    model = detector.save(tmp_path / "model.keras")
    assert run("export", "--model", model, "--output", tmp_path / "other.onnx") == 2


@keras.saving.register_keras_serializable("tests")
class UnknownScorer(DistanceScorer):
    """Computes the same, but has no converter."""


class UnknownDetector(DistanceDetector):
    def _fit_scorer(self, x, y, random, progress):
        return UnknownScorer(), {"nothing": pd.DataFrame({"epoch": [1], "loss": [0.0]})}


def test_a_detector_of_ones_own_without_a_converter(rng, tmp_path):
    detector = UnknownDetector().fit(rng.random((40, 3)))
    with pytest.raises(NotExportableError, match=r"\(UnknownScorer\).*; export a SavedModel"):
        detector.export(tmp_path / "model.onnx")


@pytest.mark.slow
def test_networks_in_bfloat16_are_refused_with_a_remedy(rng, tmp_path):
    detector = R2AD2Detector.from_preset(
        "fast",
        alarm_dtype="mixed_bfloat16",
        alarm_units=(4, 4),
        start_epoch=1,
        snapshot_interval=1,
        epochs=1,
    ).fit(rng.random((40, 3)))
    with pytest.raises(NotExportableError, match=r"computes in bfloat16; retrain in float32"):
        detector.export(tmp_path / "model.onnx")


def test_the_missing_extra_is_named(exported, tmp_path, monkeypatch):
    detector, _, _ = exported
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'r2ad2\[onnx\]'"):
        detector.export(tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_an_earlier_file_survives_a_full_disk(exported, tmp_path, monkeypatch):
    detector, _, _ = exported
    earlier = tmp_path / "model.onnx"
    earlier.write_text("earlier")

    def fail(self, content):
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(OSError, match="No space"):
        detector.export(earlier)
    assert earlier.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [earlier]


def test_models_too_large_for_a_file_are_refused(exported, tmp_path, monkeypatch):
    detector, _, _ = exported
    monkeypatch.setattr("r2ad2.serving.onnx.export._MOST_BYTES", 1000)
    with pytest.raises(NotExportableError, match=r"holds at most 1,000: train with gradient="):
        detector.export(tmp_path / "model.onnx")


# ---- other processes and languages ------------------------------------------------------------

SCORE_ALONE = """
    import sys
    import json
    import numpy as np
    import onnxruntime
    blocked = {"tensorflow", "keras", "r2ad2", "onnx", "pandas", "sklearn", "scipy"}
    rows = np.load(sys.argv[1] + "/rows.npz", allow_pickle=True)
    session = onnxruntime.InferenceSession(sys.argv[1] + "/model.onnx")
    found = session.run(None, {name: rows[name] for name in rows})
    assert not blocked & sys.modules.keys(), blocked & sys.modules.keys()
    np.savez(sys.argv[1] + "/answers.npz", score=found[0], is_anomaly=found[1], p_value=found[2])
"""


def score_alone(exported, folder, python):
    """Score in another process, which has the rows and the file only."""
    detector, X, source = exported
    shutil.copy(source / "model.onnx", folder / "model.onnx")
    rows = X.head(50)
    np.savez(folder / "rows.npz", **feeds(session(folder / "model.onnx"), rows))
    done = subprocess.run(
        [*python, textwrap.dedent(SCORE_ALONE), str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert_equal_scores(np.load(folder / "answers.npz"), detector, rows)


def test_a_process_that_imports_only_onnxruntime_and_numpy(exported, tmp_path):
    score_alone(exported, tmp_path, [sys.executable, "-c"])


@pytest.mark.slow
def test_an_environment_with_only_onnxruntime_and_numpy(exported, tmp_path):
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True, timeout=120)
    python = environment / "bin" / "python"
    install = [python, "-I", "-m", "pip", "install", "--quiet", "onnxruntime", "numpy"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.skip(f"onnxruntime cannot be installed here: {done.stderr.strip()[-200:]}")
    score_alone(exported, tmp_path, [python, "-I", "-c"])


SCORE_IN_NODE = """
    const ort = require("onnxruntime-node");
    const fs = require("fs");
    const rows = JSON.parse(fs.readFileSync("rows.json", "utf8"));
    const make = {
      string: (v) => v,
      float64: (v) => Float64Array.from(v),
      int64: (v) => BigInt64Array.from(v.map(BigInt)),
      bool: (v) => Uint8Array.from(v.map(Number)),
    };
    (async () => {
      const session = await ort.InferenceSession.create("model.onnx");
      const feeds = {};
      for (const [name, { type, values }] of Object.entries(rows)) {
        feeds[name] = new ort.Tensor(type, make[type](values), [values.length, 1]);
      }
      const found = await session.run(feeds);
      const answers = {};
      for (const name of session.outputNames) answers[name] = Array.from(found[name].data, Number);
      fs.writeFileSync("answers.json", JSON.stringify(answers));
    })();
"""


@pytest.mark.slow
def test_the_runtime_of_node(exported, tmp_path):
    """The same file in JavaScript: strings, timestamps and all."""
    if shutil.which("npm") is None:
        pytest.skip("node and npm are not installed")
    install = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "onnxruntime-node"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    if done.returncode:
        pytest.skip(f"onnxruntime-node cannot be installed here: {done.stderr.strip()[-200:]}")
    detector, X, folder = exported
    shutil.copy(folder / "model.onnx", tmp_path)
    rows = X.head(50)
    prepared = {
        name: {
            "type": "string" if values.dtype == object else values.dtype.name,
            # JSON's numbers are doubles; nanoseconds need more digits.
            "values": list(map(str, values.ravel()))
            if values.dtype == np.int64
            else values.ravel().tolist(),
        }
        for name, values in feeds(session(tmp_path / "model.onnx"), rows).items()
    }
    (tmp_path / "rows.json").write_text(json.dumps(prepared))
    (tmp_path / "score.js").write_text(textwrap.dedent(SCORE_IN_NODE))
    done = subprocess.run(
        ["node", "score.js"], capture_output=True, text=True, timeout=120, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads((tmp_path / "answers.json").read_text())
    as_arrays = {name: np.array(values) for name, values in found.items()}
    assert_equal_scores(as_arrays, detector, rows)
