"""Published figures, to compare with."""

from __future__ import annotations

import functools
from importlib.resources import files

import pandas as pd

SOURCE = (
    "Schulze, Sperl, Răduțoiu, Sagebiel, Böttinger: R2-AD2: Detecting Anomalies by Analysing the "
    "Raw Gradient. ECML-PKDD 2022"
)


@functools.cache
def read_published() -> pd.DataFrame:
    """Read Tables 3, 4 and 5 of the paper.

    Returns:
        One row per experiment, dataset ("mean": over all data sets), level (number of snapshots in
        the ablation, else missing) and method, with AUC and AP and their standard deviations
        AUC_std and AP_std over five seeds, as far as published.
    """
    return _read("published.csv")


@functools.cache
def published_figures(experiment: str) -> pd.DataFrame:
    """Return the published figures of an experiment, in the columns of `read_published`.

    Those of "adbench" are means over seeds 1 to 3, for each set and number of labelled anomalies
    (the level).

    Source: the paper; for "adbench" Jiang et al., "ADGym: Design Choices for Deep Anomaly
    Detection", NeurIPS 2023, results for ADBench's tables.
    """
    table = pd.concat([read_published(), _read("published_adbench.csv")], ignore_index=True)
    return table[table["experiment"] == experiment].reset_index(drop=True)


def _read(name: str) -> pd.DataFrame:
    with files("r2ad2.experiments").joinpath(name).open(encoding="utf-8") as file:
        return pd.read_csv(file)
