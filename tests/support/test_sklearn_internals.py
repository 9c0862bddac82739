"""scikit-learn's private names that the package uses still exist, and do what it needs of them."""

from __future__ import annotations

import importlib
from numbers import Real

import pandas as pd
import pytest
import sklearn

from r2ad2.support.sklearn_internals import Interval, StrOptions, feature_names_of

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


def test_feature_names_are_those_of_a_table_of_named_columns():
    assert feature_names_of(pd.DataFrame({"b": [1], "a": [2]})).tolist() == ["b", "a"]
    assert feature_names_of(pd.DataFrame([[1, 2]])) is None
