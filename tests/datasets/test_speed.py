"""Readers are at least as fast as pandas and scikit-learn, compared within one run."""

from __future__ import annotations

import statistics
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder

from r2ad2.datasets import load_dataset
from r2ad2.datasets.sets.nsl_kdd import CATEGORIES, FORMAT
from r2ad2.datasets.streaming import table_pipeline

pytestmark = pytest.mark.benchmarks


def ratio(ours, reference, n_runs, record_property):
    """Return how many times longer the reference takes: the median of alternating runs."""
    seconds = {ours: [], reference: []}
    for _ in range(n_runs):
        for function in seconds:
            start = time.perf_counter()
            function()
            seconds[function].append(time.perf_counter() - start)
    pairs = zip(seconds[reference], seconds[ours], strict=True)
    ratios = [slow / fast for slow, fast in pairs]
    record_property("seconds and ratio", ([*seconds.values()], statistics.median(ratios)))
    return statistics.median(ratios)


def test_nsl_kdd(real_data, record_property):
    folder = real_data / "nsl_kdd"

    def reference():
        names = list(FORMAT.columns)
        tables = [
            pd.read_csv(folder / name, header=None, names=names)
            for name in ("KDDTrain+.txt", "KDDTest+.txt")
        ]
        table = pd.concat(tables, ignore_index=True)
        categories = [CATEGORIES[name] for name in CATEGORIES]
        encoder = ColumnTransformer(
            [("one-hot", OneHotEncoder(categories=categories, sparse_output=False), [*CATEGORIES])],
            remainder="passthrough",
        )
        x = encoder.fit_transform(table.drop(columns=["attack", "difficulty"]))
        return x.astype(np.float32), table["attack"].map(FORMAT.classes).to_numpy()

    def ours():
        dataset = load_dataset("nsl_kdd", real_data)
        return dataset.x, dataset.classes

    (x, classes), (reference_x, reference_classes) = ours(), reference()
    assert x.shape == reference_x.shape
    np.testing.assert_allclose(np.sort(x.sum(axis=0)), np.sort(reference_x.sum(axis=0)), rtol=1e-4)
    np.testing.assert_array_equal(classes, reference_classes)
    assert ratio(ours, reference, 7, record_property) >= 1


@pytest.mark.parametrize("spooled", [False, True])
def test_a_million_rows_of_eighty_columns(tmp_path, record_property, spooled):
    """Compare three passes with bounded memory to reading the whole file at once.

    One of them decides the types of the columns over all rows; writing the copy takes time as well.
    """
    spool = tmp_path / "spool.parquet" if spooled else None
    rng = np.random.default_rng(0)
    n_block, n_blocks = 20_000, 50
    frame = pd.DataFrame(
        rng.normal(size=(n_block, 76)).round(4), columns=[f"number{i}" for i in range(76)]
    )
    for n_values in (3, 12, 70):
        frame[f"text{n_values}"] = rng.choice([f"value{i}" for i in range(n_values)], n_block)
    frame["label"] = rng.choice(["normal", "attack"], n_block, p=[0.95, 0.05])
    path = tmp_path / "large.csv"
    frame.to_csv(path, index=False)
    block = path.read_text().partition("\n")[2]
    with path.open("a") as file:
        for _ in range(n_blocks - 1):
            file.write(block)

    def reference():
        table = pd.read_csv(path)
        numbers = [name for name in table if name.startswith("number")]
        texts = [name for name in table if name.startswith("text")]
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
        encoder = ColumnTransformer([("n", MinMaxScaler(), numbers), ("t", one_hot, texts)])
        encoder.fit(table[table["label"] == "normal"])
        return encoder.transform(table).astype(np.float32)

    def ours():
        pipeline = table_pipeline(path, "label", normal=["normal"], spool=spool)
        return sum(len(y) for _, y in pipeline.as_tf_data(batch_size=4096))

    assert ours() == n_block * n_blocks
    assert ratio(ours, reference, 3, record_property) >= 1
