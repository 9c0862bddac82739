"""The private names of scikit-learn that this package uses; nothing else imports any.

scikit-learn recommends some of them to authors of estimators, but keeps them in private modules,
which may change with any version. `tests/support/test_sklearn_internals.py` says which name went
missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _get_feature_names as feature_names_of

__all__ = ["Interval", "StrOptions", "boosted_trees", "boosting_baseline", "feature_names_of"]


def boosted_trees(boosting: Any) -> list[np.ndarray]:
    """Return the nodes of each tree of a fitted histogram gradient boosting of two classes."""
    return [trees[0].nodes for trees in boosting._predictors]


def boosting_baseline(boosting: Any) -> float:
    """Return the logit to which the trees of a fitted histogram gradient boosting add."""
    return float(np.ravel(boosting._baseline_prediction)[0])
