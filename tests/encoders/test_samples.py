"""What counts as samples: tables of any package, dicts of columns, sparse matrices."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import tensorflow as tf
from hypothesis import HealthCheck, assume, given, reject, settings

from r2ad2.encoders.arrays import ImageEncoder, VectorEncoder
from r2ad2.encoders.samples import as_samples
from r2ad2.encoders.sparse import SparseRows
from r2ad2.encoders.tables import TableEncoder
from tests.fuzzing import strategies
from tests.helpers.detectors import DistanceDetector
from tests.helpers.tables import encode, table


class OnlyInterchange:
    """A table that offers nothing but `__dataframe__`."""

    def __init__(self, content):
        self._content = content

    def __dataframe__(self, **options):
        return self._content.__dataframe__(**options)


def polars_table(frame):
    return pytest.importorskip("polars").from_pandas(frame)


TABLE_KINDS = {
    "polars": polars_table,
    "pyarrow table": pa.Table.from_pandas,
    "pyarrow batch": pa.RecordBatch.from_pandas,
    "pyarrow reader": lambda frame: pa.Table.from_pandas(frame).to_reader(),
    "__dataframe__": lambda frame: OnlyInterchange(pa.Table.from_pandas(frame)),
    "dict of lists": lambda frame: frame.to_dict("list"),
    "dict of arrays": lambda frame: {name: frame[name].to_numpy() for name in frame},
    "dict of polars Series": lambda frame: {name: polars_table(frame)[name] for name in frame},
    "dict of Arrow arrays": lambda frame: {
        name: pa.Array.from_pandas(frame[name]) for name in frame
    },
}


@pytest.fixture(scope="module")
def frame():
    X, y = table(np.random.default_rng(0))
    return X.assign(when=pd.date_range("2026-01-01", periods=len(X), freq="5h")), y


@pytest.fixture(scope="module")
def fitted(frame):
    return DistanceDetector(random_state=0).fit(*frame)


@pytest.mark.parametrize("kind", TABLE_KINDS)
def test_tables_of_all_packages_give_equal_scores_whatever_the_order_of_columns(
    kind, frame, fitted
):
    X, y = frame
    convert = TABLE_KINDS[kind]
    expected = fitted.predict_proba(X)
    np.testing.assert_array_equal(fitted.predict_proba(convert(X[X.columns[::-1]])), expected)
    trained = DistanceDetector(random_state=0).fit(convert(X), y)
    assert trained.feature_names_in_.tolist() == list(X.columns)
    np.testing.assert_allclose(trained.predict_proba(X), expected, atol=1e-6)
    trained.calibrate(convert(X), y)
    np.testing.assert_array_equal(trained.p_values(convert(X)), trained.p_values(X))
    why = fitted.explain(convert(X.iloc[:2]), baseline=convert(X.iloc[2:3]))
    expected_why = fitted.explain(X.iloc[:2], baseline=X.iloc[2:3])
    np.testing.assert_array_equal(why.features, expected_why.features)


def learnt_and_encoded(table, training):
    """Learn from training rows and encode a table; None if either is refused."""
    try:
        X, training = as_samples(table)[0], as_samples(training)[0]
        encoder = TableEncoder.learn(training, np.ones(len(training), bool), missing="indicator")
        return encode(encoder, X)
    except ValueError:
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(strategies.columns(6))
def test_any_table_is_the_same_in_pandas_and_arrow(column):
    frame = pd.DataFrame({"odd": column, "n": range(6)})
    try:
        table = pa.Table.from_pandas(frame, preserve_index=False)
        assume(column.notna().any())  # otherwise its kind is unknown
    except (pa.ArrowException, TypeError, ValueError, ArithmeticError):
        reject()  # what Arrow has no type for
    bare = table.replace_schema_metadata(None)  # as other packages make it
    expected = learnt_and_encoded(frame, frame)
    for X, training in ((table, frame), (bare, frame), (frame, bare), (bare, bare)):
        found = learnt_and_encoded(X, training)
        if expected is None or found is None:
            assert found is expected
        else:
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_missing_values_of_all_packages_are_the_same():
    pl = pytest.importorskip("polars")
    rows = {
        "flag": [True, None, False, True] * 5,
        "n": [1, 2, None, 4] * 5,
        "kind": ["a", "b", "a", None] * 5,
    }
    detector = DistanceDetector(missing="indicator", random_state=0).fit(pd.DataFrame(rows))
    expected = detector.predict_proba(pd.DataFrame(rows))
    typed = pd.DataFrame(rows).astype({"flag": "boolean", "n": "Int64", "kind": "string"})
    for form in (pl.DataFrame(rows), pa.table(rows), rows, typed):
        np.testing.assert_allclose(detector.predict_proba(form), expected, atol=1e-6)
    no_blank = typed.iloc[[0]].astype({"flag": bool, "n": "int64"})
    np.testing.assert_allclose(detector.predict_proba(no_blank), expected[:1], atol=1e-6)


def test_the_index_of_a_pandas_table_in_arrow_is_not_a_feature(frame, caplog):
    X, _ = frame
    indexed = pa.Table.from_pandas(X.sample(frac=1, random_state=0))
    assert "__index_level_0__" in indexed.column_names
    assert list(as_samples(indexed)[0].columns) == list(X.columns)
    assert not caplog.records
    # Other packages do not keep what pandas noted about its index.
    forgotten = indexed.replace_schema_metadata(None)
    assert list(as_samples(forgotten)[0].columns) == list(X.columns)
    assert "'__index_level_0__' is the index of a pandas table: left out" in caplog.text


@pytest.mark.parametrize("kind", ["polars", "arrow", "chunked", "polars table", "arrow table"])
def test_labels_of_other_packages(kind, frame, fitted):
    X, y = frame
    pl = pytest.importorskip("polars") if "polars" in kind else None
    labels = {
        "polars": lambda: pl.Series("odd", y),
        "arrow": lambda: pa.array(y),
        "chunked": lambda: pa.chunked_array([y]),
        "polars table": lambda: pl.DataFrame({"odd": y}),
        "arrow table": lambda: pa.table({"odd": y}),
    }[kind]()
    trained = DistanceDetector(random_state=0).fit(X, labels)
    assert trained.classes_.tolist() == [0, 1]
    np.testing.assert_array_equal(trained.predict_proba(X), fitted.predict_proba(X))


def test_labels_among_the_columns_are_found_in_every_kind_of_table(frame):
    pl = pytest.importorskip("polars")
    X = pl.from_pandas(frame[0].assign(odd=frame[1]))
    with pytest.raises(ValueError, match="also holds the labels, in column 'odd': drop it"):
        DistanceDetector().fit(X, X["odd"])


def test_labels_of_a_dataset_are_used_in_calibration(frame):
    X, y = frame[0][["amount", "count"]].to_numpy(), frame[1]
    detector = DistanceDetector(random_state=0).fit(X, y)
    pairs = tf.data.Dataset.from_tensor_slices((X, y))
    expected = detector.calibrate(X, y).p_values(X)
    np.testing.assert_array_equal(detector.calibrate(pairs).p_values(X), expected)


def test_names_of_several_types_become_texts():
    X = pd.DataFrame(np.random.default_rng(0).random((20, 3)), columns=[0, 1, "kind"])
    detector = DistanceDetector(random_state=0).fit(X)
    assert detector.feature_names_in_.tolist() == ["0", "1", "kind"]
    expected = detector.predict_proba(X)
    np.testing.assert_array_equal(detector.predict_proba(X[["kind", 1, 0]]), expected)
    np.testing.assert_array_equal(detector.predict_proba(X.rename(columns=str)), expected)
    X.columns = [0, "0", "kind"]
    with pytest.raises(ValueError, match="column name '0' appears more than once"):
        DistanceDetector().fit(X)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ({"a": [1, 2], "b": [1]}, "lengths differ: 'a' has 2 values, 'b' has 1"),
        ({"a": 1, "b": [2]}, "column 'a' is not a list or array"),
        ({"a": "text"}, "column 'a' is not a list or array"),
        ({"a": [[1, 2], [3]]}, "column 'a' is not a list or array"),
        ({"a": tf.zeros((2, 2))}, "column 'a' is not a list or array"),
        ({}, "a dict without columns"),
        (None, "X has type NoneType: pass an array, a table"),
        (pa.array([1, 2]), "a single column: pass a table"),
        (pa.table({"a": [[1], [2]]}), "'a' holds values of type ndarray"),
        (scipy.sparse.coo_array(([1.0], ([0],)), shape=(3,)), r"two axes, got shape \(3,\)"),
        (scipy.sparse.csr_array((3, 3), dtype=complex), "Complex data not supported"),
    ],
)
def test_what_holds_no_samples_is_refused_in_one_line(X, message):
    with pytest.raises(ValueError, match=message) as refusal:
        DistanceDetector().fit(X)
    assert "\n" not in str(refusal.value)


def test_polars_objects_that_are_not_tables_are_refused():
    pl = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"polars LazyFrame, .* such as with \.collect\(\)"):
        DistanceDetector().fit(pl.LazyFrame({"a": [1, 2]}))
    with pytest.raises(TypeError, match="polars Series, a single column"):
        DistanceDetector().fit(pl.Series([1, 2]))
    wide = pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.Int128)})
    with pytest.raises(TypeError, match="polars DataFrame that cannot be read as a table"):
        DistanceDetector().fit(wide)


def test_masked_values_are_missing(rng):
    X = rng.normal(size=(60, 3))
    masked = np.ma.masked_array(np.where(X > 1, 1e6, X), mask=X > 1)
    missing = np.where(X > 1, np.nan, X)
    settings = {"missing": "indicator", "random_state": 0}
    detector = DistanceDetector(**settings).fit(masked)
    expected = DistanceDetector(**settings).fit(missing)
    np.testing.assert_array_equal(detector.predict_proba(masked), expected.predict_proba(missing))
    with pytest.raises(ValueError, match="NaN"):
        DistanceDetector().fit(masked)
    np.testing.assert_array_equal(
        detector.predict_proba(np.ma.masked_array(X)), detector.predict_proba(X)
    )
    with pytest.raises(ValueError, match="y has masked labels"):
        DistanceDetector().fit(X, np.ma.masked_array(np.zeros(60), mask=X[:, 0] > 1))


def test_datasets_that_never_end_are_refused(rng):
    dataset = tf.data.Dataset.from_tensor_slices(rng.normal(size=(20, 2))).repeat()
    with pytest.raises(ValueError, match=r"the dataset never ends: pass it without repeat\(\)"):
        DistanceDetector().fit(dataset)


def test_labels_of_datasets_may_be_words(rng):
    X, words = rng.normal(size=(40, 2)), np.where(np.arange(40) < 4, "fraud", "fine")
    dataset = tf.data.Dataset.from_tensor_slices((X, words)).batch(16)
    detector = DistanceDetector(anomaly_label="fraud").fit(dataset)
    assert detector.classes_.tolist() == ["fine", "fraud"]


def test_labels_of_unbatched_datasets_may_have_an_axis(rng):
    X, y = rng.normal(size=(40, 2)), np.arange(40) % 10 == 0
    pairs = tf.data.Dataset.from_tensor_slices((X, y[:, np.newaxis]))
    named = pairs.map(lambda x, y: ({"a": x[0], "b": x[1]}, y))
    images = pairs.map(lambda x, y: (tf.reshape(x, (2, 1)), y))
    for dataset, expected in ((pairs, X), (named, X), (images, X[..., np.newaxis])):
        for form in (dataset, dataset.batch(16), dataset.batch(1, drop_remainder=True)):
            samples, labels = as_samples(form)
            np.testing.assert_array_equal(samples, expected)
            np.testing.assert_array_equal(labels, y)


def test_unlabelled_batches_of_fixed_size(rng, caplog):
    colour = rng.random((6, 4, 4, 3))
    dataset = tf.data.Dataset.from_tensor_slices(colour).batch(2, drop_remainder=True)
    np.testing.assert_array_equal(as_samples(dataset)[0], colour)
    assert not caplog.records
    rows = tf.data.Dataset.from_tensor_slices(colour.reshape(6, -1)).batch(2, drop_remainder=True)
    assert as_samples(rows)[0].shape == (3, 2, 48)
    assert "elements of shape (2, 48) without labels count as images" in caplog.text


def test_a_file_name_is_not_a_table():
    with pytest.raises(TypeError, match="X has type str: pass an array, a table"):
        DistanceDetector().fit("file.csv")


# ---- sparse matrices ----------------------------------------------------------------------


def sparse(rng, n=300, columns=50):
    return scipy.sparse.random_array((n, columns), density=0.1, format="csr", rng=rng)


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr"])
@pytest.mark.parametrize("is_matrix", [False, True])
def test_sparse_and_dense_samples_give_equal_scores(form, is_matrix, rng):
    dense = sparse(rng).toarray()
    convert = scipy.sparse.csr_matrix if is_matrix else scipy.sparse.csr_array
    X, y = convert(dense).asformat(form), np.arange(300) % 10 == 0
    by_dense, by_sparse = (DistanceDetector(random_state=0).fit(data, y) for data in (dense, X))
    expected = by_dense.predict_proba(dense)
    for detector in (by_dense, by_sparse):
        np.testing.assert_allclose(detector.predict_proba(X), expected, atol=1e-6)
        np.testing.assert_allclose(detector.predict_proba(dense), expected, atol=1e-6)
    np.testing.assert_array_equal(by_sparse.predict(X), by_dense.predict(dense))
    np.testing.assert_allclose(by_sparse.p_values(X), by_dense.p_values(dense), atol=1e-6)
    np.testing.assert_allclose(
        by_sparse.calibrate(X, y).p_values(X), by_dense.calibrate(dense, y).p_values(dense)
    )
    few = convert(dense[:3]).asformat(form)
    np.testing.assert_allclose(
        by_sparse.explain(few).features, by_dense.explain(dense[:3]).features, atol=1e-6
    )


def test_missing_values_of_sparse_samples(rng):
    X = sparse(rng)
    X.data[[3, 8]] = np.nan
    dense = X.toarray()
    all_missing = dense.copy()
    all_missing[:, 0] = np.nan
    for values in (dense, all_missing):
        matrix = scipy.sparse.csr_array(values)
        learnt = [
            VectorEncoder.learn(data, np.ones(300, bool), missing="indicator")
            for data in (values, matrix)
        ]
        np.testing.assert_allclose(learnt[1].fills, learnt[0].fills, atol=1e-12)
        assert learnt[1].minimum == learnt[0].minimum
        assert learnt[1].maximum == learnt[0].maximum
    messages = []
    for data in (dense, X):
        with pytest.raises(ValueError, match="contains NaN or infinity in 2 rows") as refusal:
            VectorEncoder.learn(data, np.ones(300, bool))
        messages.append(str(refusal.value))
    assert messages[0] == messages[1]


def test_values_given_twice_add_up():
    twice = scipy.sparse.csr_array(
        (np.array([1.0, 2.0, -5.0]), np.array([0, 0, 1]), np.array([0, 2, 3])), shape=(2, 2)
    )
    encoder = VectorEncoder.learn(twice, np.ones(2, bool))
    assert encoder.maximum == [3.0, 0.0]
    assert encoder.minimum == [0.0, -5.0]
    assert not twice.has_canonical_format  # the user's matrix stays as it is


def test_a_huge_sparse_matrix_is_dense_one_batch_at_a_time(monkeypatch):
    n, columns = 20_000, 50_000  # 8 GB if dense
    rng = np.random.default_rng(0)
    X = scipy.sparse.csr_array(
        (np.ones(n), (np.arange(n), rng.integers(columns, size=n))), shape=(n, columns)
    )
    detector = DistanceDetector(calibration_fraction=0, random_state=0).fit(X[:50])
    sizes = []
    slice_rows = SparseRows.__getitem__

    def watched(self, rows):
        chosen = slice_rows(self, rows)
        sizes.append(chosen.nbytes)
        return chosen

    monkeypatch.setattr(SparseRows, "__getitem__", watched)
    assert len(detector.predict_proba(X[:2000])) == 2000
    assert max(sizes) <= 2**28


def test_fit_says_how_much_memory_dense_training_rows_take(rng, caplog):
    with caplog.at_level(logging.INFO, logger="r2ad2"):
        DistanceDetector(calibration_fraction=0).fit(sparse(rng, 1000, 500))
    assert "1,000 rows x 500 features become a dense array of 2 MiB" in caplog.text


def test_sparse_samples_do_not_fit_tables_and_images(rng, frame, fitted):
    with pytest.raises(ValueError, match="trained on a table with 6 columns, got csr_array"):
        fitted.predict(sparse(rng))
    with pytest.raises(ValueError, match=r"got a sparse matrix: pass X\.toarray\(\)"):
        ImageEncoder.check(sparse(rng))


# ---- many columns, images -----------------------------------------------------------------


def test_columns_of_one_type_are_prepared_together(rng, monkeypatch):
    n = 20_000
    X = pd.DataFrame(rng.random((4, n)), columns=[f"c{i}" for i in range(n)])
    X["flag"] = X["c0"] > 0.5
    encoder = TableEncoder.learn(X, np.ones(4, bool))
    groups = encoder.feature_groups
    assert [len(groups[name]) for name in ("c0", "flag")] == [1, 1]
    asked = []
    take = pd.DataFrame.__getitem__
    monkeypatch.setattr(
        pd.DataFrame, "__getitem__", lambda self, key: asked.append(key) or take(self, key)
    )
    encoded = encode(encoder, X[X.columns[::-1]].iloc[:1])
    assert len(asked) < 10  # rather than once per column
    np.testing.assert_allclose(encoded, encode(encoder, X)[:1], atol=0)


def test_images_with_channels_first_are_pointed_out(rng, caplog):
    images = rng.random((8, 3, 32, 32))
    ImageEncoder.learn(images, np.ones(8, bool))
    assert "look like (channels, height, width): if so, pass X.transpose(0, 2, 3, 1)" in caplog.text
    caplog.clear()
    for shape in ((8, 32, 32, 3), (8, 3, 32, 3), (8, 32, 32), (8, 3, 32, 1)):
        ImageEncoder.learn(rng.random(shape), np.ones(8, bool))
    assert not caplog.text
