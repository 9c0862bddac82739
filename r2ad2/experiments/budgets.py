"""How much a run may cost: the paper's settings, fast settings, or a number of seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from r2ad2.datasets import DatasetCard
from r2ad2.detectors.registry import make_detector

_EPOCHS = 100  # for every method in the paper's comparison
_PILOT_EPOCHS = (1, 3)


@dataclass(frozen=True)
class Budget:
    """Settings that all methods of an experiment are run with.

    Attributes:
        name: "paper", "fast", or seconds as text, such as "60".
        preset: preset for detectors that have presets.
        auto_batches: whether batch sizes depend on the number of samples or come from the card.
        seconds: approximate time limit of a training; None sets no limit.
    """

    name: str
    preset: str
    auto_batches: bool
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Make the budget "paper" or "fast", or one from a number of seconds.

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

        These are the card's architecture, alarm network and batch size, unless the preset says
        otherwise. No normal samples are held back for calibration, as in the paper.
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
        """Reduce the number of epochs so that training takes about the budget's seconds.

        Two short trainings measure the time per epoch. Nothing changes without a limit, or for a
        detector without epochs.

        Args:
            detector_type: the detector's class.
            settings: all its settings.
            fit: trains a detector on the data in question.

        Returns:
            The settings, with fewer epochs if necessary, but at least one.
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
    """Return what a preset changes in a detector's defaults; empty if it has no presets."""
    if not hasattr(detector_type, "from_preset"):
        return {}
    defaults = detector_type().get_params(deep=False)
    chosen = detector_type.from_preset(preset).get_params(deep=False)
    return {name: value for name, value in chosen.items() if value != defaults[name]}
