"""The publication's five experiments: what each varies, and which runs it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from r2ad2.datasets import DatasetCard
from r2ad2.datasets.catalogue import dataset_cards
from r2ad2.experiments.runs import Run

SEEDS = (110, 210, 310, 410, 510)
_N_KNOWN = 100  # known anomalies, in all experiments except the one that varies them


@dataclass(frozen=True)
class Protocol:
    """One of the experiments.

    Attributes:
        name: its name on the command line.
        title: one line on what it shows.
        source: table or figure of the publication.
        varies: what it varies; None if nothing varies.
        levels: the values it takes.
        split_request: maps a card and a level to the arguments of `Dataset.split`, except the
            random state.
        needs: parameter that a detector must have to take part; it is set to the level.
        needs_classes: whether data sets need several classes of anomalies to take part.
    """

    name: str
    title: str
    source: str
    split_request: Callable[[DatasetCard, float | None], dict[str, Any]]
    varies: str | None = None
    levels: tuple[float, ...] = ()
    needs: str | None = None
    needs_classes: bool = False

    @property
    def file_name(self) -> str:
        """Prefix of its file names in a report."""
        return self.source.lower().replace(" ", "")

    def detector_settings(self, level: float | None) -> dict[str, Any]:
        """Return the detector settings that the experiment determines."""
        return {} if self.needs is None or level is None else {self.needs: int(level)}

    def accepts(self, detector_type: type) -> bool:
        """Whether a detector can take part."""
        return self.needs is None or self.needs in detector_type().get_params(deep=False)

    def suits(self, card: DatasetCard) -> bool:
        """Whether a data set can take part."""
        return not self.needs_classes or set(card.known_transfer) < set(card.anomalous)


def _known(card: DatasetCard, level: float | None) -> dict[str, Any]:
    return {"n_known_anomalies": _N_KNOWN, "allow_fewer": True}


EXPERIMENTS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol("known", "Known anomalies", "Table 3", _known),
            Protocol(
                "unknown",
                "Unknown anomalies: only some classes are known in training",
                "Table 4",
                lambda card, level: _known(card, level) | {"known_classes": card.known_transfer},
                needs_classes=True,
            ),
            Protocol(
                "pollution",
                "Unlabelled anomalies among the normal training samples",
                "Figure 2",
                lambda card, level: _known(card, level) | {"pollution": level},
                varies="pollution",
                levels=(0.0, 0.025, 0.05, 0.075, 0.1),
            ),
            Protocol(
                "anomalies",
                "Number of known anomalies",
                "Figure 3",
                lambda card, level: {"n_known_anomalies": int(level or 0)},
                varies="known anomalies",
                levels=(5, 10, 25, 50, 100),
            ),
            Protocol(
                "ablation",
                "Number of snapshots",
                "Table 5",
                _known,
                varies="snapshots",
                levels=(1, 2, 3, 4),
                needs="n_snapshots",
            ),
        )
    }
)


def plan_runs(
    experiment: str,
    datasets: Sequence[str],
    methods: Mapping[str, type],
    seeds: Sequence[int] = SEEDS,
    levels: Sequence[float] | None = None,
    **common: Any,
) -> list[Run]:
    """List the runs of an experiment, those of one data set and seed together.

    Args:
        experiment: one of `EXPERIMENTS`.
        datasets: names of data sets.
        methods: detectors' classes by name; those that cannot take part are left out.
        seeds: one run per seed.
        levels: values of what is varied; None means those of the publication.
        **common: budget, max_rows and overrides of all runs, see `Run`.

    Raises:
        ValueError: if a data set or no method can take part, or levels are given where nothing
            varies.
    """
    protocol, cards = EXPERIMENTS[experiment], dataset_cards()
    unsuited = [name for name in datasets if name in cards and not protocol.suits(cards[name])]
    if unsuited:
        raise ValueError(
            f"experiment {experiment!r} needs data sets with several classes of anomalies; "
            f"{unsuited[0]} has only one"
        )
    if levels and protocol.varies is None:
        raise ValueError(f"experiment {experiment!r} varies nothing: omit the levels")
    taking_part = [name for name, detector in methods.items() if protocol.accepts(detector)]
    if not taking_part:
        raise ValueError(
            f"experiment {experiment!r} needs a detector with the parameter {protocol.needs!r}; "
            f"none of {', '.join(methods)} has it"
        )
    return [
        Run(experiment, dataset, method, seed, None if level is None else float(level), **common)
        for dataset in datasets
        for seed in seeds
        for level in (levels or protocol.levels or (None,))
        for method in taking_part
    ]
