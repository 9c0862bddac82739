"""Explanations: how much each feature, snapshot and layer contributes to a sample's score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Explanation:
    """Attributions of scores; those of a sample sum to its score minus that of the baseline.

    Attributes:
        scores: (n,) in [0, 1].
        baseline_score: score of the baseline, with which all samples are compared.
        features: (n, features) attribution to each column of a table, column "x0", "x1", ... of an
            array, or square patch of an image ("row 0, column 4" is its upper left pixel).
        arms: (n, 2) attribution to the forests that see only values, and to those that see
            gradients as well; None for detectors other than the gradient forest.
        snapshots: (n, K) attribution to each snapshot's gradient; None for detectors without. The
            gradient forest also has columns for the sample itself and for its residual.
        layers: (n, layers) attribution to the gradient of each of the autoencoder's layers; None
            for detectors without. The gradient forest has the same further columns.
        heat_maps: (n, height, width) attribution per pixel of an image; None for other data.
    """

    # By the prefix of their columns in `to_frame`.
    PARTS: ClassVar[dict[str, str]] = {
        "feature": "features",
        "arm": "arms",
        "snapshot": "snapshots",
        "layer": "layers",
    }

    scores: np.ndarray
    baseline_score: float
    features: pd.DataFrame
    arms: pd.DataFrame | None = None
    snapshots: pd.DataFrame | None = None
    layers: pd.DataFrame | None = None
    heat_maps: np.ndarray | None = None

    def to_frame(self) -> pd.DataFrame:
        """Combine everything in one table: score, feature:NAME, arm:NAME, snapshot:NAME, ..."""
        tables = [
            getattr(self, part).add_prefix(f"{prefix}:")
            for prefix, part in self.PARTS.items()
            if getattr(self, part) is not None
        ]
        scores = pd.DataFrame({"score": self.scores}, index=self.features.index)
        return pd.concat([scores, *tables], axis=1)


def heat_maps(
    attributions: np.ndarray, groups: Sequence[np.ndarray], image_shape: tuple[int, ...]
) -> np.ndarray:
    """Spread the attributions (n, groups) of patches evenly over their pixels.

    Args:
        attributions: of groups of positions in flattened images.
        groups: the positions.
        image_shape: (height, width, channels).

    Returns:
        (n, height, width); each image sums to the sum of its attributions.
    """
    flat = np.zeros((len(attributions), math.prod(image_shape)))
    for number, positions in enumerate(groups):
        flat[:, positions] = attributions[:, number, np.newaxis] / len(positions)
    return flat.reshape(-1, *image_shape).sum(axis=-1)
