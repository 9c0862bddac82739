"""Splits: sizes, disjoint parts, determinism, no leaks, clear errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import MinMaxScaler

from r2ad2.datasets import load_dataset
from tests.helpers.splits import CARD, requests, several, split_or_skip, toy_datasets


@several
@given(toy_datasets(), requests)
def test_parts_are_disjoint_and_hold_only_known_kinds(dataset, request):
    split = split_or_skip(dataset, request)
    parts = [split.train_indices, split.val_indices, split.test_indices]
    together = np.concatenate(parts)
    assert len(np.unique(together)) == len(together)
    assert "other" not in dataset.classes[together]
    known = request["known_classes"] or CARD.anomalous
    assert set(dataset.classes[split.val_indices]) <= {*CARD.normal, *known}
    assert set(dataset.classes[split.train_indices[split.y_train == 1]]) <= set(known)
    for x, y, indices in zip(
        (split.x_train, split.x_val, split.x_test),
        (split.y_train, split.y_val, split.y_test),
        parts,
        strict=True,
    ):
        assert len(x) == len(y) == len(indices)
        assert x.dtype == np.float32


@several
@given(toy_datasets(), requests)
def test_known_anomalies_and_pollution_are_exact(dataset, request):
    split = split_or_skip(dataset, request)
    truly_anomalous = np.isin(dataset.classes[split.train_indices], CARD.anomalous)
    assert (split.y_train == 1).sum() == request["n_known_anomalies"]
    n_polluting = (truly_anomalous & (split.y_train == 0)).sum()
    n_normal = (~truly_anomalous).sum()
    pollution = request["pollution"]
    assert n_polluting == round(pollution / (1 - pollution) * n_normal)


@several
@given(toy_datasets(), requests)
def test_scaling_is_learnt_on_rows_labelled_normal_alone(dataset, request):
    split = split_or_skip(dataset, request)
    normal = split.x_train[split.y_train == 0]
    np.testing.assert_allclose(normal.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(normal.max(axis=0), 1, atol=1e-6)
    scaler = MinMaxScaler().fit(dataset.x[split.train_indices[split.y_train == 0]])
    np.testing.assert_allclose(split.x_test, scaler.transform(dataset.x[split.test_indices]), 1e-5)


@several
@given(toy_datasets(), requests, st.integers(0, 2**31))
def test_random_state_decides_all_but_the_test_split(dataset, request, other_seed):
    first, second = split_or_skip(dataset, request), split_or_skip(dataset, request)
    np.testing.assert_array_equal(first.x_train, second.x_train)
    np.testing.assert_array_equal(first.val_indices, second.val_indices)
    other = split_or_skip(dataset, request | {"random_state": other_seed})
    np.testing.assert_array_equal(first.test_indices, other.test_indices)


def test_seeds_give_the_same_samples_in_every_version():
    split = load_dataset("breast_cancer").split(
        n_known_anomalies=10, pollution=0.02, random_state=210, max_normal=200
    )
    assert len(split.train_indices) == 214
    assert split.train_indices[:4].tolist() == [160, 318, 143, 439]  # normal
    assert split.train_indices[200:204].tolist() == [40, 33, 3, 34]  # polluting
    assert split.train_indices[204:].tolist() == [31, 43, 1, 14, 8, 521, 32, 36, 330, 254]
    assert split.train_indices.sum() == 65_287
    assert (len(split.val_indices), split.val_indices.sum()) == (23, 4_809)
    assert (len(split.test_indices), split.test_indices.sum()) == (114, 32_613)


def test_sizes_are_the_publications():
    dataset = load_dataset("digits")
    split = dataset.split(n_known_anomalies=20)
    assert len(split.test_indices) == math.ceil(0.2 * len(dataset.x))
    assert split.x_test.min() >= 0
    assert split.x_test.max() <= 1
    assert set(split.classes_test) == {str(digit) for digit in range(10)}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (
            {"n_known_anomalies": 10**6},
            "breast_cancer has only .* but 1,000,000 are needed as known anomalies",
        ),
        ({"pollution": 0.9}, "suitable anomalies .* to pollute the training data"),
        ({"pollution": 1.0}, r"pollution must be in \[0, 1\)"),
        ({"n_known_anomalies": -1}, "must not be negative, got -1"),
        ({"known_classes": ["benign"]}, "no anomaly class 'benign': choose among malignant"),
        ({"max_normal": 0}, "max_normal must be positive, got 0"),
    ],
)
def test_impossible_requests_are_refused(request_, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("breast_cancer").split(**request_)
