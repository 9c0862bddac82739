"""Counterexamples made from training samples: what normal data are told apart from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

_SMALLEST_SHARE = 0.3


def cut_mix(
    normal: np.ndarray,
    known: np.ndarray,
    groups: Sequence[np.ndarray],
    random: np.random.Generator,
) -> np.ndarray:
    """Make normal samples of which some columns come from a known anomaly.

    A random share of the columns, 30 to 100 %, is taken over. Values change only in whole columns:
    all slots of a category, all pixels of a patch of an image.

    Args:
        normal: samples (n, ...).
        known: known anomalies (m, ...).
        groups: positions of each column in a flattened sample.
        random: generator.

    Returns:
        Counterexamples (n, ...), one from each normal sample.

    Raises:
        ValueError: if no anomaly is known.

    Source: CutMix (Yun et al., ICCV 2019), here for columns and binary labels.
    """
    if not len(known):
        raise ValueError(
            'counterexamples="cutmix" needs known anomalies: label some, or use "resampled"'
        )
    n_samples = len(normal)
    donors = known[random.integers(len(known), size=n_samples)]
    shares = random.uniform(_SMALLEST_SHARE, 1, size=(n_samples, 1))
    replaced = random.random((n_samples, len(groups))) < shares
    by_position = replaced[:, _group_of(groups, normal)].reshape(normal.shape)
    return np.where(by_position, donors, normal)


def resample_columns(
    normal: np.ndarray,
    known: np.ndarray,
    groups: Sequence[np.ndarray],
    random: np.random.Generator,
) -> np.ndarray:
    """Make samples whose columns come from different normal samples.

    Each column has its normal distribution, but the columns no longer depend on each other. Drawing
    is with replacement: if each column held exactly the normal values, no single split of a tree
    would gain anything.

    Args:
        normal: samples (n, ...).
        known: not used.
        groups: positions of each column in a flattened sample.
        random: generator.

    Returns:
        Counterexamples (n, ...).

    Source: unsupervised random forests (Breiman and Cutler, "Random Forests", 2003).
    """
    flat = normal.reshape(len(normal), -1)
    mixed = np.empty_like(flat)
    for positions in groups:
        drawn = random.integers(len(flat), size=len(flat))
        mixed[:, positions] = flat[np.ix_(drawn, positions)]
    return mixed.reshape(normal.shape)


def cut_mix_if_known(
    normal: np.ndarray,
    known: np.ndarray,
    groups: Sequence[np.ndarray],
    random: np.random.Generator,
) -> np.ndarray:
    """Make counterexamples by `cut_mix` if an anomaly is known, else by `resample_columns`."""
    make = cut_mix if len(known) else resample_columns
    return make(normal, known, groups, random)


Maker = Callable[[np.ndarray, np.ndarray, Sequence[np.ndarray], np.random.Generator], np.ndarray]
COUNTEREXAMPLES: Mapping[str, Maker] = {
    "auto": cut_mix_if_known,
    "cutmix": cut_mix,
    "resampled": resample_columns,
}


def _group_of(groups: Sequence[np.ndarray], samples: np.ndarray) -> np.ndarray:
    """Return the number of the group of each position in a flattened sample."""
    numbers = np.empty(int(np.prod(samples.shape[1:])), dtype=np.int64)
    for number, positions in enumerate(groups):
        numbers[positions] = number
    return numbers
