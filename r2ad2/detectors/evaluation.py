"""How well scores separate anomalies from normal samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, confusion_matrix, roc_auc_score


def evaluate_scores(
    labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5
) -> dict[str, Any]:
    """Compute the paper's figures, and figures at the threshold.

    Args:
        labels: (n,), 1 = anomaly, 0 = normal.
        scores: (n,), higher is more anomalous.
        threshold: scores above it count as predicted anomalies.

    Returns:
        Dict with AUC (area under the ROC curve), AP (average precision), precision, recall,
        false_positive_rate, all in [0, 1], and the counts n_normal, n_anomalies, n_flagged.

    Raises:
        ValueError: if all labels are the same.
    """
    n_anomalies = int(labels.sum())
    if n_anomalies in (0, len(labels)):
        kind = "normal" if n_anomalies == 0 else "anomalous"
        raise ValueError(f"all {len(labels):,} rows are {kind}: evaluation needs both kinds")
    flagged = scores > threshold
    (true_normal, false_alarms), (_, hits) = confusion_matrix(labels, flagged, labels=[0, 1])
    n_flagged = int(flagged.sum())
    return {
        "AUC": float(roc_auc_score(labels, scores)),
        "AP": float(average_precision_score(labels, scores)),
        "precision": float(hits / n_flagged) if n_flagged else 0.0,
        "recall": float(hits / n_anomalies),
        "false_positive_rate": float(false_alarms / (true_normal + false_alarms)),
        "n_normal": len(labels) - n_anomalies,
        "n_anomalies": n_anomalies,
        "n_flagged": n_flagged,
    }
