"""Random small data sets and requests for their splits."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import assume, settings
from hypothesis import strategies as st

from r2ad2.datasets import Dataset
from r2ad2.datasets.catalogue import dataset_cards

CARD = dataclasses.replace(
    dataset_cards()["breast_cancer"],
    name="toy",
    normal=("n1", "n2"),
    anomalous=("a1", "a2", "a3"),
    known_transfer=("a1",),
)


@st.composite
def toy_datasets(draw):
    """Make data sets of 200 to 400 rows, half of them normal, with or without a test split."""
    n = draw(st.integers(200, 400))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    classes = rng.choice(
        ["n1", "n2", "a1", "a2", "a3", "other"], n, p=[0.3, 0.2, 0.15, 0.15, 0.1, 0.1]
    )
    mask = rng.random(n) < 0.3 if draw(st.booleans()) else None
    return Dataset(CARD, rng.normal(size=(n, 3)).astype(np.float32), classes, list("abc"), mask)


requests = st.fixed_dictionaries(
    {
        "n_known_anomalies": st.integers(0, 8),
        "pollution": st.sampled_from([0.0, 0.025, 0.1]),
        "known_classes": st.sampled_from([None, ("a1",), ("a1", "a3")]),
        "random_state": st.integers(0, 2**31),
    }
)
several = settings(max_examples=40, deadline=None)


def split_or_skip(dataset, request):
    try:
        return dataset.split(**request)
    except ValueError as error:
        assume("left in its training split" not in str(error))
        raise
