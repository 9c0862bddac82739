"""R2-AD2: semi-supervised anomaly detection by analysing raw per-sample gradients.

The names below are imported when they are first used, so that parts which need no TensorFlow
(data sets, command-line help) start at once.
"""

import importlib
from typing import TYPE_CHECKING, Any

from r2ad2._version import __version__

if TYPE_CHECKING:
    from r2ad2.detectors.base import AnomalyDetector
    from r2ad2.detectors.gradient_forest import GradientForestDetector
    from r2ad2.detectors.persistence import load
    from r2ad2.detectors.r2ad2 import R2AD2Detector
    from r2ad2.networks.autoencoder import Autoencoder
    from r2ad2.networks.model import R2AD2

__all__ = [
    "R2AD2",
    "AnomalyDetector",
    "Autoencoder",
    "GradientForestDetector",
    "R2AD2Detector",
    "__version__",
    "load",
]

_HOMES = {
    "R2AD2": "networks.model",
    "AnomalyDetector": "detectors.base",
    "Autoencoder": "networks.autoencoder",
    "GradientForestDetector": "detectors.gradient_forest",
    "R2AD2Detector": "detectors.r2ad2",
    "load": "detectors.persistence",
}
# Used as r2ad2.plots and r2ad2.spark without an import of their own.
_SUBMODULES = ("plots", "spark")


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"r2ad2.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'r2ad2' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"r2ad2.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES])
