"""scikit-learn's private names that the package uses still exist, and do what it needs of them."""

from __future__ import annotations

import importlib
from numbers import Real

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier

from r2ad2.support.sklearn_internals import (
    Interval,
    StrOptions,
    boosted_trees,
    boosting_baseline,
    feature_names_of,
)

PRIVATE_NAMES = [
    ("sklearn.utils._param_validation", "Interval"),
    ("sklearn.utils._param_validation", "StrOptions"),
    ("sklearn.utils.validation", "_get_feature_names"),
]


@pytest.mark.parametrize(("module", "name"), PRIVATE_NAMES)
def test_a_private_name_is_still_there(module, name):
    found = hasattr(importlib.import_module(module), name)
    assert found, f"scikit-learn {sklearn.__version__} has no {module}.{name} any more"


def test_constraints_accept_and_refuse_values():
    share = Interval(Real, 0, 1, closed="left")
    assert share.is_satisfied_by(0)
    assert not share.is_satisfied_by(1)
    assert StrOptions({"auto"}).is_satisfied_by("auto")
    assert not StrOptions({"auto"}).is_satisfied_by("manual")


def test_boosted_trees_have_the_fields_that_are_read():
    X = np.arange(50.0)[:, np.newaxis]
    boosting = HistGradientBoostingClassifier(max_iter=1).fit(X, X[:, 0] > 20)
    (nodes,) = boosted_trees(boosting)
    read = {"is_leaf", "feature_idx", "num_threshold", "left", "right", "value"}
    assert read <= set(nodes.dtype.names)
    # Their sum is the decision: the baseline, and the value of the leaf.
    row = nodes[0]
    while not row["is_leaf"]:
        row = nodes[row["left"] if X[3, 0] <= row["num_threshold"] else row["right"]]
    decision = boosting_baseline(boosting) + row["value"]
    assert boosting.decision_function(X[3:4])[0] == pytest.approx(decision)


def test_feature_names_are_those_of_a_table_of_named_columns():
    assert feature_names_of(pd.DataFrame({"b": [1], "a": [2]})).tolist() == ["b", "a"]
    assert feature_names_of(pd.DataFrame([[1, 2]])) is None
