"""Pipelines of splits hold the samples of the splits; small data sets give clear errors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2ad2.datasets import Dataset, load_dataset
from tests.helpers.splits import CARD, requests, several, split_or_skip, toy_datasets

PARTS = ("train", "val", "test")


def collect(dataset):
    pairs = [(x.numpy(), y.numpy()) for x, y in dataset]
    if not pairs:
        return np.zeros((0, 3)), np.zeros(0)
    return np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs])


@settings(several, max_examples=15)  # each makes two pipelines, which are slow to build
@given(toy_datasets(), requests, st.sampled_from(PARTS), st.integers(1, 300))
def test_unshuffled_batches_are_the_split(dataset, request, part, batch_size):
    split = split_or_skip(dataset, request)
    expected_x, expected_y = getattr(split, f"x_{part}"), getattr(split, f"y_{part}")
    for pipeline in (
        split.as_tf_data(part, batch_size, shuffle=False),
        dataset.as_tf_data(part, batch_size, shuffle=False, **request),
    ):
        x, y = collect(pipeline)
        np.testing.assert_allclose(x, expected_x, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(y, expected_y)
        assert pipeline.cardinality() == -(-len(expected_y) // batch_size)


def toy():
    rng = np.random.default_rng(0)
    classes = np.repeat(["n1", "a1", "a2"], [300, 100, 100])
    return Dataset(CARD, rng.normal(size=(500, 3)).astype(np.float32), classes, list("abc"))


def test_training_is_reshuffled_in_each_epoch_as_the_seed_decides():
    pipeline = toy().as_tf_data(batch_size=64, n_known_anomalies=20)
    first, second = collect(pipeline), collect(pipeline)
    again = collect(toy().as_tf_data(batch_size=64, n_known_anomalies=20))
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[0] != second[0]).any()
    np.testing.assert_array_equal(np.sort(first[0], axis=0), np.sort(second[0], axis=0))
    assert first[1].sum() == 20
    # In the split the anomalies come last: shuffling must mix all samples, not just neighbours.
    assert first[1][: len(first[1]) // 2].sum() > 2


def test_images_keep_their_shape_and_types():
    pipeline = load_dataset("digits").split(n_known_anomalies=5).as_tf_data("val", batch_size=10)
    x, y = pipeline.element_spec
    assert x.shape.as_list() == [None, 8, 8, 1]
    assert (x.dtype.name, y.dtype.name) == ("float32", "int64")


def test_the_publications_batch_size_is_the_default():
    x, _ = next(iter(load_dataset("breast_cancer").as_tf_data(n_known_anomalies=10)))
    assert len(x) == load_dataset("breast_cancer").card.batch_size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"part": "validation"}, "no part 'validation'"), ({"batch_size": 0}, "at least 1")],
)
def test_impossible_pipelines_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        toy().as_tf_data(**arguments, n_known_anomalies=5)
    with pytest.raises(ValueError, match=message):
        toy().split(n_known_anomalies=5).as_tf_data(**arguments)


@several
@given(st.integers(0, 12), st.integers(0, 12), st.booleans(), st.integers(0, 6))
def test_sets_too_small_for_the_request_say_so(n_normal, n_anomalous, has_test, n_known):
    """The split is as requested, or the error names the data set."""
    n = n_normal + n_anomalous
    classes = np.repeat(["n1", "a1"], [n_normal, n_anomalous])
    mask = np.arange(n) % 3 == 0 if has_test else None
    dataset = Dataset(CARD, np.ones((n, 2), np.float32), classes, ["a", "b"], mask)
    try:
        split = dataset.split(n_known_anomalies=n_known)
    except ValueError as error:
        assert "toy has" in str(error)  # noqa: PT017 (an error is one of two valid outcomes)
        return
    assert (split.y_train == 1).sum() == n_known
    assert (split.y_train == 0).any()
    assert len(split.test_indices)


def test_a_set_is_whole_if_all_published_rows_were_read():
    card = dataclasses.replace(CARD, rows=3)
    x = np.ones((2, 1), np.float32)
    classes = np.array(["n1", "a1"])
    assert not Dataset(card, x, classes).is_whole
    assert Dataset(card, x, classes, n_dropped=1).is_whole
    assert Dataset(card, x, classes).class_counts == {"a1": 1, "n1": 1}
