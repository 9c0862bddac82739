"""A detector for measurements of scoring: its work per sample does not depend on training."""

from __future__ import annotations

from typing import Any

import numpy as np

from r2ad2.support.messages import require_known


def quickly_trained(preset: str, samples: np.ndarray, **settings: Any) -> Any:
    """Train a detector as briefly as possible; every fiftieth sample is a known anomaly.

    Args:
        preset: the detector's preset.
        samples: array (n, features).
        **settings: other parameters of the detector.
    """
    from r2ad2.detectors.presets import PRESETS, make_preset

    require_known([preset], PRESETS, "preset")

    quick = {"start_epoch": 1, "snapshot_interval": 1, "epochs": 1, "early_stopping": False}
    known = PRESETS[preset][0]().get_params()
    chosen = {name: value for name, value in quick.items() if name in known}
    detector = make_preset(preset, random_state=0, **(chosen | settings))
    return detector.fit(samples, (np.arange(len(samples)) % 50 == 0).astype(int))
