"""The publication's figures, to compare with."""

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
    """Read Tables 3, 4 and 5 of the publication.

    Returns:
        One row per experiment, dataset ("mean": over all data sets), level (number of snapshots in
        the ablation, else missing) and method, with AUC and AP and their standard deviations
        AUC_std and AP_std over five seeds, as far as published.
    """
    with files("r2ad2.experiments").joinpath("published.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)
