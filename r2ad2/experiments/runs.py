"""What decides the figures of one run of an experiment."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Run:
    """What decides the figures of one run.

    Attributes:
        experiment: name of the experiment.
        dataset: name of the data set.
        method: name under which the detector is registered.
        seed: decides splits, draws and training.
        level: the value of what the experiment varies; None if nothing varies.
        budget: see `Budget.parse`.
        max_rows: maximum number of normal training samples; None means all.
        overrides: settings that replace those of the budget, by name.
    """

    experiment: str
    dataset: str
    method: str
    seed: int
    level: float | None = None
    budget: str = "fast"
    max_rows: int | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """The run's name in a store: readable and unique."""
        identity = json.dumps(dataclasses.asdict(self), sort_keys=True, default=str)
        digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
        level = () if self.level is None else (f"{self.level:g}",)
        parts = (self.experiment, self.dataset, self.method, *level, str(self.seed), digest)
        return "-".join("".join(c if c.isalnum() else "_" for c in part) for part in parts)

    def to_json(self) -> str:
        """Write the run as one line of JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    def describe(self) -> dict[str, Any]:
        """Return the columns that say what was run."""
        columns = dataclasses.asdict(self)
        return columns | {"overrides": json.dumps(self.overrides, sort_keys=True)}
