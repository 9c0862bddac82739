"""The experiments: what each varies, which data sets it is about, and which runs it needs."""

from __future__ import annotations

import abc
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

from r2ad2.datasets import DatasetCard, dataset_names
from r2ad2.datasets.adbench import require_adbench
from r2ad2.datasets.catalogue import dataset_cards
from r2ad2.datasets.check import is_available
from r2ad2.datasets.files import data_folder, missing_files
from r2ad2.detectors.presets import RECOMMENDED
from r2ad2.detectors.registry import detectors
from r2ad2.experiments.budgets import Budget
from r2ad2.experiments.materials import Material, adbench_material, paper_material
from r2ad2.experiments.published import published_figures, read_published
from r2ad2.experiments.runs import Run
from r2ad2.support.messages import require_known

SEEDS = (110, 210, 310, 410, 510)
_N_KNOWN = 100  # known anomalies, in all experiments except the one that varies them
DataDir = str | os.PathLike | None


@dataclass(frozen=True)
class Protocol(abc.ABC):
    """One of the experiments.

    Attributes:
        name: its name on the command line.
        title: one line on what it shows.
        source: table or figure of the paper, or where else it comes from.
        varies: what it varies; None if nothing varies.
        levels: the values it takes.
        needs: parameter that a detector must have to take part; it is set to the level.
        seeds: seeds to run by default.
    """

    name: str
    title: str
    source: str
    varies: str | None = None
    levels: tuple[float, ...] = ()
    needs: str | None = None
    seeds: ClassVar[tuple[int, ...]] = SEEDS

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

    def require_levels(self, levels: Sequence[float]) -> None:
        """Check that levels can be taken: numbers, or shares if its own levels are shares.

        Raises:
            ValueError: if one cannot.
        """
        if levels and self.varies is None:
            raise ValueError(f"experiment {self.name!r} varies nothing: omit the levels")
        are_shares = any(level % 1 for level in self.levels)
        for level in levels:
            if are_shares and not 0 <= level < 1:
                raise ValueError(f"a level of {self.name!r} is a share from 0 to 1, got {level:g}")
            if not are_shares and not (0 <= level < math.inf and level % 1 == 0):
                raise ValueError(f"a level of {self.name!r} is a whole number, got {level:g}")

    @abc.abstractmethod
    def default_methods(self, methods: Mapping[str, type]) -> list[str]:
        """Choose methods to run by default among these, by name."""

    @abc.abstractmethod
    def dataset_names(self, data_dir: DataDir = None) -> list[str]:
        """List the names that may be chosen."""

    @abc.abstractmethod
    def choose(self, names: Sequence[str], data_dir: DataDir = None) -> list[str]:
        """Check that data sets are available; without names, choose all that can take part.

        Raises:
            FileNotFoundError: for missing files.
        """

    @abc.abstractmethod
    def require_suited(self, names: Iterable[str], max_rows: int | None = None) -> None:
        """Check that data sets can take part.

        Args:
            names: the data sets.
            max_rows: maximum number of normal training samples.

        Raises:
            ValueError: for the first that cannot, or if rows must not be limited.
        """

    @abc.abstractmethod
    def material(self, run: Run, data_dir: str | None) -> Material:
        """Read the data set of a run, and split it."""


@dataclass(frozen=True)
class PaperProtocol(Protocol):
    """An experiment of the paper, on data sets with cards.

    Attributes:
        split_request: maps a card and a level to the arguments of `Dataset.split`, except the
            random state.
        needs_classes: whether data sets need several classes of anomalies to take part.
    """

    split_request: Callable[[DatasetCard, float | None], dict[str, Any]] = lambda card, level: {}
    needs_classes: bool = False

    def default_methods(self, methods: Mapping[str, type]) -> list[str]:
        """Choose the paper's methods."""
        published = set(read_published()["method"])
        return [name for name in methods if name in published]

    def dataset_names(self, data_dir: DataDir = None) -> list[str]:
        """List all data sets that have a card."""
        return dataset_names()

    def choose(self, names: Sequence[str], data_dir: DataDir = None) -> list[str]:
        """Check the files; without names, prefer the paper's data sets to embedded ones."""
        folder, cards = data_folder(data_dir), dataset_cards()
        available = [name for name, card in cards.items() if is_available(card, folder / name)]
        for name in names:
            if name not in available:
                raise missing_files(cards[name], folder / name, *cards[name].files)
        suited = [name for name in available if self._suits(cards[name])]
        return list(names) or [name for name in suited if cards[name].files] or suited

    def _suits(self, card: DatasetCard) -> bool:
        return not self.needs_classes or set(card.known_transfer) < set(card.anomalous)

    def require_suited(self, names: Iterable[str], max_rows: int | None = None) -> None:
        """Check that data sets have several classes of anomalies, if they need them."""
        cards = dataset_cards()
        for name in names:
            if name in cards and not self._suits(cards[name]):
                raise ValueError(
                    f"experiment {self.name!r} needs data sets with several classes of anomalies; "
                    f"{name} has only one"
                )

    def material(self, run: Run, data_dir: str | None) -> Material:
        """Split the data set as the paper does."""
        return paper_material(run, data_dir, self.split_request)


@dataclass(frozen=True)
class ADBenchProtocol(Protocol):
    """The comparison of ADGym (Jiang et al., NeurIPS 2023) on the tables of ADBench.

    Attributes:
        clean: whether unlabelled anomalies are left out of the training part.
    """

    clean: bool = False
    seeds: ClassVar[tuple[int, ...]] = (1, 2, 3)

    @property
    def file_name(self) -> str:
        """Prefix of its file names in a report."""
        return self.name

    def default_methods(self, methods: Mapping[str, type]) -> list[str]:
        """Choose the methods that have published figures, and the recommended detector."""
        published = set(published_figures(self.name)["method"])
        return [name for name, kind in methods.items() if name in published or kind is RECOMMENDED]

    def dataset_names(self, data_dir: DataDir = None) -> list[str]:
        """List the sets in the folder adbench."""
        return require_adbench(data_dir)

    def choose(self, names: Sequence[str], data_dir: DataDir = None) -> list[str]:
        """Return the names, or all available sets."""
        available = require_adbench(data_dir)
        require_known(names, available, "ADBench set")
        return list(names) or available

    def require_suited(self, names: Iterable[str], max_rows: int | None = None) -> None:
        """Check that rows are not limited: the published splits are fixed."""
        if max_rows is not None:
            raise ValueError("the splits of ADBench are fixed: omit --max-rows")

    def material(self, run: Run, data_dir: str | None) -> Material:
        """Split the set as the comparison does."""
        return adbench_material(run, data_dir, self.clean)


def _known(card: DatasetCard, level: float | None) -> dict[str, Any]:
    return {"n_known_anomalies": _N_KNOWN, "allow_fewer": True}


EXPERIMENTS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            PaperProtocol("known", "Known anomalies", "Table 3", split_request=_known),
            PaperProtocol(
                "unknown",
                "Unknown anomalies: only some classes are known in training",
                "Table 4",
                split_request=lambda card, level: (
                    _known(card, level) | {"known_classes": card.known_transfer}
                ),
                needs_classes=True,
            ),
            PaperProtocol(
                "pollution",
                "Unlabelled anomalies among the normal training samples",
                "Figure 2",
                split_request=lambda card, level: _known(card, level) | {"pollution": level},
                varies="pollution",
                levels=(0.0, 0.025, 0.05, 0.075, 0.1),
            ),
            PaperProtocol(
                "anomalies",
                "Number of known anomalies",
                "Figure 3",
                split_request=lambda card, level: {"n_known_anomalies": int(level or 0)},
                varies="known anomalies",
                levels=(5, 10, 25, 50, 100),
            ),
            PaperProtocol(
                "ablation",
                "Number of snapshots",
                "Table 5",
                split_request=_known,
                varies="snapshots",
                levels=(1, 2, 3, 4),
                needs="n_snapshots",
            ),
            ADBenchProtocol(
                "adbench",
                "Few labelled anomalies, the others among the normal samples",
                "ADBench",
                varies="labelled anomalies",
                levels=(5, 10, 20),
            ),
            ADBenchProtocol(
                "adbench_clean",
                "Few labelled anomalies, the others left out of training",
                "ADBench",
                varies="labelled anomalies",
                levels=(5, 10, 20),
                clean=True,
            ),
        )
    }
)


def plan_runs(
    experiment: str,
    datasets: Sequence[str],
    methods: Mapping[str, type],
    seeds: Sequence[int] | None = None,
    levels: Sequence[float] | None = None,
    **common: Any,
) -> list[Run]:
    """List the runs of an experiment, those of one data set and seed together.

    Args:
        experiment: one of `EXPERIMENTS`.
        datasets: names of data sets.
        methods: detectors' classes by name; those that cannot take part are left out.
        seeds: one run per seed; None means those of the experiment.
        levels: values of what is varied; None means those of the experiment.
        **common: budget, max_rows and overrides of all runs, see `Run`.

    Raises:
        ValueError: if a data set or no method can take part, for levels that the experiment cannot
            take, or settings that no method has or the experiment decides.
    """
    protocol = EXPERIMENTS[experiment]
    protocol.require_suited(datasets, common.get("max_rows"))
    protocol.require_levels(levels or ())
    taking_part = [name for name, detector in methods.items() if protocol.accepts(detector)]
    if not taking_part:
        raise ValueError(
            f"experiment {experiment!r} needs a detector with the parameter {protocol.needs!r}; "
            f"none of {', '.join(methods)} has it"
        )
    _require_settings(
        common.get("overrides", {}),
        {name: methods[name] for name in taking_part},
        protocol,
        Budget.parse(common.get("budget", Run.budget)),
    )
    return [
        Run(experiment, dataset, method, seed, None if level is None else float(level), **common)
        for dataset in datasets
        for seed in dict.fromkeys(seeds or protocol.seeds)
        for level in dict.fromkeys(levels or protocol.levels or (None,))
        for method in taking_part
    ]


def _require_settings(
    overrides: Mapping[str, Any],
    methods: Mapping[str, type],
    protocol: Protocol,
    budget: Budget,
) -> None:
    """Check settings given for all runs; a method ignores those that only others have."""
    if not overrides:
        return
    everyone = [*detectors().values(), *methods.values()]
    known = {name for method in everyone for name in method().get_params(deep=False)}
    require_known(overrides, sorted(known), "setting")
    decided = {"random_state": "the seeds decide it"}
    if protocol.needs is not None:
        decided[protocol.needs] = "the levels decide it"
    if budget.seconds is not None:
        decided["epochs"] = "a budget in seconds decides it"
    for name in overrides:
        if name in decided:
            raise ValueError(f"{name!r} cannot be set: {decided[name]}")
    try:
        json.dumps(dict(overrides))
    except (TypeError, ValueError) as error:
        raise ValueError(f"a setting cannot be kept with the results: {error}") from error
