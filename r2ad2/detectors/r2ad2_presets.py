"""The presets of R2-AD2: settings by name."""

from __future__ import annotations

from typing import Any

R2AD2_PRESETS: dict[str, dict[str, Any]] = {
    # The constructor's defaults are the paper's settings, but it held nothing back.
    "paper": {"calibration_fraction": 0.0},
    # A sketch instead of all components, a smaller alarm network, a pool of synthetic anomalies, as
    # many epochs as it takes, and columns scaled by ranks.
    "fast": {
        "gradient": "sketch",
        "sketch_size": 128,
        "scaling": "quantile",
        "synthetic_pool": 4,
        "alarm_units": (128, 64, 32, 16),
        "batch_size": "auto",
        "epochs": "auto",
        "early_stopping": True,
        "n_iter_no_change": 20,
    },
}
