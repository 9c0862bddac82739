"""How much each run may cost: the publication's settings, fast ones, or about so many seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from r2ad2.datasets import DatasetCard
from r2ad2.detectors.registry import make_detector

_EPOCHS = 100  # of every method in the publication's comparison
_PILOT_EPOCHS = (1, 3)


@dataclass(frozen=True)
class Budget:
    """Settings that all methods of an experiment are run with.

    Attributes:
        name: "paper", "fast", or seconds as text, such as "60".
        preset: preset of the detectors that have presets.
        auto_batches: whether batch sizes follow from the number of samples, or from the card.
        seconds: about how long a training may take; None sets no limit.
    """

    name: str
    preset: str
    auto_batches: bool
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Make the budget "paper", "fast" or of so many seconds.

        Raises:
            ValueError: for anything else.
        """
        if text in _NAMED:
            return _NAMED[text]
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < float("inf"):
            raise ValueError(
                f"a budget is {', '.join(_NAMED)} or a number of seconds, got {text!r}"
            )
        return cls(f"{seconds:g}", "fast", auto_batches=True, seconds=seconds)

    def settings(self, detector_type: type, card: DatasetCard) -> dict[str, Any]:
        """Choose the settings of a detector for a data set.

        The card's architecture, alarm network and batch size, unless the preset says otherwise; all
        normal samples train, as in the publication.
        """
        return {
            "architecture": card.architecture,
            "alarm_units": card.alarm_units,
            "batch_size": "auto" if self.auto_batches else card.batch_size,
            "epochs": _EPOCHS,
            "calibration_fraction": 0.0,
            **_preset_changes(detector_type, self.preset),
        }

    def affordable(
        self, detector_type: type, settings: Mapping[str, Any], fit: Callable[[Any], Any]
    ) -> dict[str, Any]:
        """Reduce the epochs until a training takes about the budget's seconds.

        Two short trainings tell how long one epoch takes. Nothing changes without a limit, or for
        a detector without epochs.

        Args:
            detector_type: the detector's class.
            settings: all its settings.
            fit: trains a detector on the data in question.

        Returns:
            The settings, with fewer epochs if need be, but one at least.
        """
        if self.seconds is None or "epochs" not in detector_type().get_params(deep=False):
            return dict(settings)
        durations = []
        for epochs in _PILOT_EPOCHS:
            start = time.perf_counter()
            fit(make_detector(detector_type, {**settings, "epochs": epochs}))
            durations.append(time.perf_counter() - start)
        first, last = _PILOT_EPOCHS
        per_epoch = max((durations[1] - durations[0]) / (last - first), 1e-3)
        left = self.seconds - durations[0]
        return {**settings, "epochs": int(min(max(first + left // per_epoch, 1), _EPOCHS))}


_NAMED = {
    "fast": Budget("fast", "fast", auto_batches=True),
    "paper": Budget("paper", "paper", auto_batches=False),
}


def _preset_changes(detector_type: Any, preset: str) -> dict[str, Any]:
    """Tell what a preset changes in a detector's defaults; nothing where there are no presets."""
    if not hasattr(detector_type, "from_preset"):
        return {}
    defaults = detector_type().get_params(deep=False)
    chosen = detector_type.from_preset(preset).get_params(deep=False)
    return {name: value for name, value in chosen.items() if value != defaults[name]}
