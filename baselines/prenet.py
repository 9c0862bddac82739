"""PReNet in DeepOD's implementation on PyTorch, a strong opponent among neural networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from baselines.classical import ClassicalDetector
from r2ad2.support.extras import from_extra


class PReNetDetector(ClassicalDetector):
    """DeepOD's PReNet (Pang et al., KDD 2023): learns from pairs how many of two are anomalies.

    It scores a sample by pairs with random training samples, so that equal scores need equal draws.

    Raises:
        MissingExtraError: when fitted without DeepOD and PyTorch (extra `deepod`).
        ValueError: when fitted with fewer than two known anomalies or normal samples.
    """

    min_anomalies = 2  # it learns from pairs

    def _fit_model(self, vectors: np.ndarray, y: np.ndarray) -> Any:
        with from_extra("deepod", "deepod", "torch"):
            import torch
            from deepod.models import PReNet
        if np.count_nonzero(y == 0) < 2:
            raise ValueError("PReNet learns from pairs: it needs at least two normal samples")
        self.seed_ = int(check_random_state(self.random_state).randint(2**31))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with _numpys_draws_kept():
            model = PReNet(device=device, verbose=0, random_state=self.seed_)
            return model.fit(vectors, y)

    def _score(self, vectors: np.ndarray) -> np.ndarray:
        with _numpys_draws_kept():
            self.model_.set_seed(self.seed_)
            return self.model_.decision_function(vectors)


@contextlib.contextmanager
def _numpys_draws_kept() -> Iterator[None]:
    """Undo what DeepOD does to NumPy's global state, which may be the caller's."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
