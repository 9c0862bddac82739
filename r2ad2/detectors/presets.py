"""Detectors with their settings, by the name of a preset."""

from __future__ import annotations

from typing import Any

from r2ad2.detectors.base import AnomalyDetector
from r2ad2.detectors.gradient_forest import GradientForestDetector
from r2ad2.detectors.r2ad2 import R2AD2Detector
from r2ad2.detectors.r2ad2_presets import R2AD2_PRESETS
from r2ad2.detectors.registry import with_settings
from r2ad2.support.messages import require_known

PRESETS: dict[str, tuple[type[AnomalyDetector], dict[str, Any]]] = {
    "forest": (GradientForestDetector, {}),
    **{name: (R2AD2Detector, settings) for name, settings in R2AD2_PRESETS.items()},
}
RECOMMENDED: type[AnomalyDetector] = PRESETS["forest"][0]


def make_preset(preset: str, **overrides: Any) -> AnomalyDetector:
    """Make the detector of a preset, with some of its settings overridden.

    Args:
        preset: "forest", the recommended detector, or "fast" or "paper", settings of R2-AD2.
        **overrides: further settings.

    Raises:
        ValueError: for an unknown preset or setting.
    """
    require_known([preset], PRESETS, "preset")
    detector_type, settings = PRESETS[preset]
    return with_settings(detector_type, settings, overrides)
