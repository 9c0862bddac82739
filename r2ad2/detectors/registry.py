"""Finds detectors by name, those of this package and those of other packages.

A package registers a detector by an entry point in the group `r2ad2.detectors`, in its setup.cfg::

    [options.entry_points]
    r2ad2.detectors =
        Forest = mypackage.forest:ForestDetector

The registered class has scikit-learn's interface for estimators: a constructor whose parameters
all have defaults, `get_params`, ``fit(X, y)`` with y = 1 for known anomalies and 0 for
all other samples, and ``decision_function(X)``, higher for more anomalous samples. Subclasses of
`AnomalyDetector` have all this and more; `sklearn.base.BaseEstimator` gives the parameters.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from r2ad2.support.messages import require_known

logger = logging.getLogger(__name__)

GROUP = "r2ad2.detectors"


def detector_names() -> list[str]:
    """Name all registered detectors, without importing them, in alphabetical order."""
    return sorted({entry.name for entry in entry_points(group=GROUP)}, key=str.lower)


def detectors() -> dict[str, type]:
    """Import all registered detectors.

    One that cannot be imported is skipped with a warning, so that the others keep working.

    Returns:
        Their classes by name, in alphabetical order.

    Raises:
        ValueError: if two packages register different detectors under one name.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        first = found.setdefault(entry.name, entry)
        if first.value != entry.value:
            raise ValueError(
                f"two detectors are registered as {entry.name!r}: {first.value} and {entry.value}; "
                "uninstall one of their packages"
            )
    classes = {}
    for name, entry in found.items():
        try:
            classes[name] = entry.load()
        except Exception as error:
            logger.warning("detector %r (%s) cannot be imported: %s", name, entry.value, error)
    return classes


def with_settings(
    detector_type: type, settings: Mapping[str, Any], overrides: Mapping[str, Any]
) -> Any:
    """Make a detector with settings, some of them overridden.

    Raises:
        ValueError: for an override that is no parameter of the detector.
    """
    require_known(overrides, detector_type().get_params(), "setting")
    return detector_type(**{**settings, **overrides})


def make_detector(detector_type: type, settings: Mapping[str, Any]) -> Any:
    """Make a detector with the settings that it has parameters for, ignoring the others.

    Args:
        detector_type: one of the classes of `detectors`.
        settings: values by parameter name, such as a data set's architecture and batch size.
    """
    accepted = detector_type().get_params(deep=False)
    return detector_type(**{name: settings[name] for name in settings if name in accepted})
