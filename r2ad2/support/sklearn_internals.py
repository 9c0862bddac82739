"""The private names of scikit-learn that this package uses; nothing else imports any.

scikit-learn recommends both to authors of estimators, but keeps them in private modules, which may
change with any version. `tests/support/test_sklearn_internals.py` says which name went missing.
"""

from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _get_feature_names as feature_names_of

__all__ = ["Interval", "StrOptions", "feature_names_of"]
