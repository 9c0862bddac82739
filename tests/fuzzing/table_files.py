"""Table files of all sorts: python -m tests.fuzzing.table_files --cases 2000.

Either `fit` refuses a file with one clear line, or the frame in memory, `score`, `explain`,
`evaluate`, SavedModel, ONNX and Spark give the same scores for the same rows.
"""

from __future__ import annotations

import argparse
import bz2
import dataclasses
import gzip
import lzma
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.bulk.evaluate import evaluate_file
from r2ad2.bulk.explain import explain_file
from r2ad2.bulk.fit import fit_file
from r2ad2.bulk.score import score_file
from r2ad2.detectors.evaluation import evaluate_scores
from r2ad2.encoders.columns import as_numbers
from r2ad2.tables.dates import as_seconds
from r2ad2.tables.source import TableSource
from tests.fuzzing.surfaces import check_refusal, require
from tests.helpers.detectors import DistanceDetector
from tests.helpers.spark import spark_scores, start_spark_for_tests

_NAMES = ["amount", "0", "1", " x", "%cpu", "_x", "größe", "価格", "A", "a", "when?", "x.1", "f(x)"]
_DATES = ["%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%d.%m.%Y", "%m/%d/%Y %H:%M",
          "%d/%m/%Y", "%d/%b/%Y:%H:%M:%S", "%d-%b-%Y"]  # fmt: skip
_KINDS = ["whole", "float", "thousands", "boolean", "category", "codes", "mixed", "date"]
_BOOLEANS = [("true", "false"), ("TRUE", "FALSE"), ("True", "False")]
_MISSING = ["", "NA", "null", "NaN"]
_PACK = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
_REASONS = ["cannot be told apart", "different formats", "decimal", "looks ", "different texts",
            "no column", "not UTF-8", "fields"]  # fmt: skip
_EVERY_EXPORT = 25  # exporting takes a second


@dataclass
class Case:
    """A table as a file and in memory.

    Attributes:
        frame: the features in memory.
        labels: (n,) 0 and 1.
        content: the file.
        suffix: its extension.
        source: what `fit` is told.
        what: the choices that were made.
    """

    frame: pd.DataFrame
    labels: np.ndarray
    content: bytes
    suffix: str
    source: TableSource
    what: dict[str, Any]


def draw(random: np.random.Generator) -> Case:
    """Draw a table and write it in one of many ways."""

    def choose(values: list) -> Any:
        return values[random.integers(len(values))]

    n = int(random.integers(24, 60))
    encoding = choose(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])
    names = [str(name) for name in random.permutation(_NAMES)[: random.integers(1, 6)]]
    names = [name for name in names if encoding != "latin-1" or name != "価格"] or ["a"]
    labels = (np.arange(n) % 8 == 0).astype(int)
    decimal = choose([".", ".", ","])
    texts: dict[str, list[str]] = {}
    frame: dict[str, Any] = {}
    told: dict[str, str] = {}
    kinds: dict[str, str] = {}
    has_gaps = random.random() < 0.3
    for name in names:
        kind = kinds[name] = choose(_KINDS)
        values, written, category = _column(random, kind, n, decimal, choose)
        if category and random.random() < 0.8:
            told[name.strip()] = "category"
        if has_gaps and random.random() < 0.5:
            gap = choose(_MISSING)
            empty = random.random(n) < 0.1
            written = [gap if e else text for e, text in zip(empty, written, strict=True)]
            values = pd.Series(values).where(~empty, None)
        texts[name], frame[name.strip()] = written, values
    separator = choose([",", ",", ";", "\t", "|"])
    order = [*names, "label"]
    random.shuffle(order)
    texts["label"] = [choose(["{}", "{}.0"]).format(label) for label in labels]
    end = choose(["\n", "\n", "\r\n", "\r"])
    quoting = choose([0, 1])
    text = pd.DataFrame(texts)[order].to_csv(
        index=False, sep=separator, lineterminator=end, quoting=quoting
    )
    if random.random() < 0.2:
        text = text.rstrip("\r\n")
    packing = choose(["", "", *_PACK])
    source = TableSource(
        "label",
        types=told,
        encoding="latin-1" if encoding == "latin-1" else "",
        decimal=choose(["", decimal]),
        separator=choose(["", separator]),
    )
    what = {"kinds": kinds, "separator": separator, "encoding": encoding, "decimal": decimal,
            "end": end, "quoting": quoting, "gaps": has_gaps, "told": told}  # fmt: skip
    content = _PACK[packing](text.encode(encoding))
    return Case(pd.DataFrame(frame), labels, content, f".csv{packing}", source, what)


def _column(
    random: np.random.Generator, kind: str, n: int, decimal: str, choose: Any
) -> tuple[Any, list[str], bool]:
    """Draw values; return them, their texts, and whether they look like numbers but are not."""
    if kind == "whole":
        values = random.integers(-50, 1000, n)
        return values, [str(v) for v in values], False
    if kind in ("float", "thousands"):
        values = (random.normal(scale=9000, size=n)).round(2)
        form = "{:,.2f}" if kind == "thousands" else choose(["{:.2f}", "{:.6e}", "{:g}"])
        texts = [form.format(v) for v in values]
        values = np.array([float(t.replace(",", "")) for t in texts])
        if decimal == ",":
            texts = [t.translate(str.maketrans(",.", ".,")) for t in texts]
        return values, texts, False
    if kind == "boolean":
        yes, no = choose(_BOOLEANS)
        values = random.random(n) < 0.5
        return values, [yes if v else no for v in values], False
    if kind == "date":
        form = choose(_DATES)
        start = pd.Timestamp("2026-01-13") + pd.Timedelta(days=int(random.integers(300)))
        stamps = start + pd.to_timedelta(random.integers(0, 10**7, n), unit="s")
        texts = list(stamps.strftime(form))
        return pd.to_datetime(texts, format=form, utc=True).tz_localize(None), texts, False
    vocabulary = {
        "category": ["food", "fuel; oil", 'say "x"', "a,b", " gift", "x\ny"],
        "codes": ["80", "443", "007", "8080"],
        "mixed": ["443", "A7", "-", "0x0b", "x"],
    }[kind]
    values = random.choice(vocabulary, n)
    return values, [str(v) for v in values], kind == "codes"


def check(case: Case, export: bool = False, spark: Any = None) -> str:
    """Take a file through everything; return the outcome.

    Args:
        case: the file.
        export: also score its rows with SavedModel and ONNX.
        spark: session that also scores its rows; None for no Spark.

    Raises:
        AssertionError: for scores that differ, or a refusal that is not one clear line.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, model = Path(folder) / f"rows{case.suffix}", Path(folder) / "model.keras"
        path.write_bytes(case.content)
        has_gaps = bool(case.frame.isna().any(axis=None))
        detector = DistanceDetector(
            calibration_fraction=0.0,
            random_state=0,
            missing="indicator" if has_gaps else "error",
        )
        try:
            fit_file(detector, path, model, source=case.source)
        except ValueError as error:
            check_refusal(error)
            require(repr(str(path)) in str(error) or "column" in str(error), f"no place: {error}")
            return f"refused: {_reason(str(error))}"
        expected = detector.predict_proba(case.frame[sorted(case.frame)])[:, 1]
        scores = _scored(score_file, detector, path, Path(folder) / "scores.csv")
        np.testing.assert_allclose(scores, expected, atol=1e-6)
        top = Path(folder) / "why.csv"
        explain_file(detector, path, top, top=2)
        why = pd.read_csv(top).set_index("row")["score"]
        np.testing.assert_allclose(why, expected[why.index], atol=1e-6)
        figures = evaluate_file(detector, path, label="label").figures
        wanted = evaluate_scores(case.labels, expected, detector.threshold_)
        np.testing.assert_allclose(figures["AUC"], wanted["AUC"], atol=1e-6)
        if spark is not None:
            found = spark_scores(spark, detector, case.frame, model)
            np.testing.assert_allclose(found, expected, atol=1e-6)
        if export:
            _check_export(detector, case.frame, expected, Path(folder))
            _check_onnx(detector, case.frame, expected, Path(folder))
            return "the same scores, also of SavedModel and ONNX"
    return "the same scores"


def _scored(score: Any, detector: Any, path: Path, output: Path) -> np.ndarray:
    score(detector, path, output)
    return pd.read_csv(output)["score"].to_numpy()


def _check_export(detector: Any, frame: pd.DataFrame, expected: np.ndarray, folder: Path) -> None:
    import tensorflow as tf

    from r2ad2.serving.inputs import input_names

    signature = tf.saved_model.load(str(detector.export(folder / "1"))).signatures[
        "serving_default"
    ]
    encoder = detector.pipeline_.encoder
    names = input_names(encoder.columns)
    specs = signature.structured_input_signature[1]
    inputs = {}
    for column, name in names.items():
        values: Any = frame[column]
        if encoder.kinds[column] == "text":
            values = values.astype(object).where(values.notna(), "").tolist()
        else:
            read = as_numbers if encoder.kinds[column] == "number" else as_seconds
            values = read(column, values)
        inputs[name] = tf.cast(tf.constant(values), specs[name].dtype)
        inputs[name] = tf.reshape(inputs[name], [-1, *specs[name].shape[1:]])
    np.testing.assert_allclose(signature(**inputs)["score"].numpy().ravel(), expected, atol=1e-6)


def _check_onnx(detector: Any, frame: pd.DataFrame, expected: np.ndarray, folder: Path) -> None:
    import onnxruntime

    path = detector.export(folder / "model.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    encoder = detector.pipeline_.encoder
    inputs = {}
    for each in session.get_inputs():
        values: Any = frame[each.name]
        kind = encoder.kinds[each.name]
        if kind == "text":
            values = values.astype(object).where(values.notna(), "").astype(str).to_numpy(object)
        elif kind == "timestamp":
            values = pd.to_datetime(values).astype("datetime64[ns]").astype("int64").to_numpy()
        else:
            types = {"tensor(int64)": np.int64, "tensor(bool)": np.bool_}
            values = as_numbers(each.name, values).astype(types.get(each.type, np.float64))
        inputs[each.name] = values.reshape(-1, 1)
    scores = session.run(["score"], inputs)[0]
    np.testing.assert_allclose(scores.ravel(), expected, atol=1e-6)


def _reason(message: str) -> str:
    """Shorten a refusal to its kind."""
    for part in _REASONS:
        if part in message:
            return part.strip()
    return message[-60:]


def run(
    cases: int, number: int = 0, *, exports: bool = False, spark: Any = None
) -> tuple[Counter, dict[str, str]]:
    """Check files; return the outcomes' counts, and an example of each fault."""
    outcomes: Counter = Counter()
    faults: dict[str, str] = {}
    for i in range(cases):
        case = draw(np.random.default_rng([number, i]))
        case = dataclasses.replace(case, what=case.what | {"case": i})
        try:
            outcomes[check(case, exports and i % _EVERY_EXPORT == 0, spark)] += 1
        except Exception as error:  # whatever it is, it is a fault
            outcomes["fault"] += 1
            key = f"{type(error).__name__}: {str(error).strip()[:200]}"
            faults.setdefault(key, str(case.what))
    return outcomes, faults


def main() -> None:
    """Print the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--number", type=int, default=0)
    parser.add_argument("--spark", action="store_true", help="also score with Spark")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        spark = start_spark_for_tests(Path(folder)) if arguments.spark else None
        outcomes, faults = run(arguments.cases, arguments.number, exports=True, spark=spark)
    for outcome, n in outcomes.most_common():
        sys.stdout.write(f"{n:6d}  {outcome}\n")
    for fault, what in faults.items():
        sys.stdout.write(f"{fault}\n    {what}\n")


if __name__ == "__main__":
    main()
