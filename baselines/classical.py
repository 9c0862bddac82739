"""Methods without a neural network, to see when they are the better choice.

They see samples as flat vectors and have the interface that experiments need
(`r2ad2.detectors.registry`); outside experiments, use scikit-learn's and PyOD's classes directly.
"""

from __future__ import annotations

import abc
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
)
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from baselines.labels import require_known_anomalies
from r2ad2.support.extras import from_extra


class ClassicalDetector(BaseEstimator, abc.ABC):
    """Base of methods that learn from vectors.

    Args:
        random_state: seed or generator of all randomness.

    Attributes:
        min_anomalies: how many known anomalies the method needs.
    """

    min_anomalies: ClassVar[int] = 1

    def __init__(self, random_state: int | None = None):
        self.random_state = random_state

    @abc.abstractmethod
    def _fit_model(self, vectors: np.ndarray, y: np.ndarray) -> Any:
        """Train on vectors (n, features) with labels (n,), 1 = known anomaly."""

    @abc.abstractmethod
    def _score(self, vectors: np.ndarray) -> np.ndarray:
        """Score vectors (n, features); higher is more anomalous."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> ClassicalDetector:
        """Train on samples (n, ...) with labels (n,), 1 = known anomaly, 0 = all others.

        Raises:
            ValueError: if fewer anomalies are known than the method needs.
        """
        y = np.asarray(y)
        # Without any, some would give every sample the same score.
        name = type(self).__name__.removesuffix("Detector")
        require_known_anomalies(name, y, self.min_anomalies)
        self.model_ = self._fit_model(_flat(X), y)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """Score samples (n, ...): higher is more anomalous; only the order is meaningful."""
        return self._score(_flat(X))


def _flat(samples: np.ndarray) -> np.ndarray:
    return np.reshape(samples, (len(samples), -1))


class IsolationForestDetector(ClassicalDetector):
    """scikit-learn's isolation forest (Liu et al., ICDM 2008), trained on the normal samples."""

    min_anomalies = 0

    def _fit_model(self, vectors: np.ndarray, y: np.ndarray) -> IsolationForest:
        return IsolationForest(random_state=self.random_state).fit(vectors[y == 0])

    def _score(self, vectors: np.ndarray) -> np.ndarray:
        return -self.model_.decision_function(vectors)


class GradientBoostingDetector(ClassicalDetector):
    """scikit-learn's histogram gradient boosting: a classifier of known anomalies, balanced."""

    def _fit_model(self, vectors: np.ndarray, y: np.ndarray) -> HistGradientBoostingClassifier:
        model = HistGradientBoostingClassifier(
            class_weight="balanced", random_state=self.random_state
        )
        return model.fit(vectors, y)

    def _score(self, vectors: np.ndarray) -> np.ndarray:
        return self.model_.decision_function(vectors)


class ExtraTreesDetector(ClassicalDetector):
    """scikit-learn's extremely randomised trees: classes weighted equally, leaves of at least 8.

    Leaves of 8 withstand anomalies that nobody labelled among the normal samples.
    """

    def _fit_model(self, vectors: np.ndarray, y: np.ndarray) -> ExtraTreesClassifier:
        model = ExtraTreesClassifier(
            min_samples_leaf=8, class_weight="balanced", random_state=self.random_state
        )
        return model.fit(vectors, y)

    def _score(self, vectors: np.ndarray) -> np.ndarray:
        return self.model_.predict_proba(vectors)[:, 1]


class LogisticRegressionDetector(ClassicalDetector):
    """scikit-learn's logistic regression on standardised values, classes weighted equally."""

    def _fit_model(self, vectors: np.ndarray, y: np.ndarray) -> Pipeline:
        model = LogisticRegression(
            class_weight="balanced", max_iter=1000, random_state=self.random_state
        )
        return make_pipeline(StandardScaler(), model).fit(vectors, y)

    def _score(self, vectors: np.ndarray) -> np.ndarray:
        return self.model_.decision_function(vectors)


class CatBoostDetector(ClassicalDetector):
    """CatBoost's classifier (Prokhorenkova et al., NeurIPS 2018) with its own settings.

    Raises:
        MissingExtraError: when fitted without CatBoost (extra `comparison`).
    """

    def _fit_model(self, vectors: np.ndarray, y: np.ndarray) -> Any:
        with from_extra("comparison", "catboost"):
            from catboost import CatBoostClassifier
        model = CatBoostClassifier(
            random_seed=self.random_state, verbose=False, allow_writing_files=False
        )
        return model.fit(vectors, y)

    def _score(self, vectors: np.ndarray) -> np.ndarray:
        return self.model_.predict(vectors, prediction_type="RawFormulaVal")


class XGBoostDetector(ClassicalDetector):
    """XGBoost's classifier (Chen and Guestrin, KDD 2016) with its own settings.

    Raises:
        MissingExtraError: when fitted without XGBoost (extra `comparison`).
    """

    def _fit_model(self, vectors: np.ndarray, y: np.ndarray) -> Any:
        with from_extra("comparison", "xgboost"):
            from xgboost import XGBClassifier
        return XGBClassifier(random_state=self.random_state).fit(vectors, y)

    def _score(self, vectors: np.ndarray) -> np.ndarray:
        return self.model_.predict(vectors, output_margin=True)


class XGBODDetector(ClassicalDetector):
    """PyOD's XGBOD (Zhao and Hryniewicki, IJCNN 2018): boosted trees on outlier scores as features.

    Raises:
        MissingExtraError: when fitted without PyOD and XGBoost (extra `comparison`).
    """

    def _fit_model(self, vectors: np.ndarray, y: np.ndarray) -> Any:
        with from_extra("comparison", "pyod", "xgboost"):
            from pyod.models.xgbod import XGBOD
        return XGBOD(random_state=self.random_state).fit(vectors, y)

    def _score(self, vectors: np.ndarray) -> np.ndarray:
        return self.model_.decision_function(vectors)
