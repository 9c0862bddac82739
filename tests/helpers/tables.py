"""Tables for training detectors, good and bad, and their encoding."""

from __future__ import annotations

import numpy as np
import pandas as pd


def table(rng, n=200):
    """Make a mixed table; anomalies differ in the number and the text column."""
    y = (np.arange(n) % 8 == 0).astype(int)
    return pd.DataFrame(
        {
            "amount": rng.normal(100, 10, n) + 80 * y,
            "count": rng.integers(0, 9, n),
            "flag": rng.random(n) < 0.5,
            "kind": np.where(y == 1, "odd", rng.choice(["a", "b"], n)),
            "level": pd.Categorical(rng.choice(["low", "high"], n)),
        }
    ), y


def bad_fits(rng):
    X, y = table(rng, 40)
    numeric = X[["amount", "count"]].to_numpy()
    with_nan = X.assign(amount=X["amount"].where(X.index > 2))
    yield "missing values", with_nan, y, "'amount' (3 rows)"
    yield "infinity", X.assign(amount=np.inf), y, "'amount'"
    yield "NaN in an array", np.where(numeric > 150, np.nan, numeric), y, "NaN"
    yield "one row", X[:1], y[1:2], "normal samples"
    yield "three labels", X, np.arange(40) % 3, "3 different labels"
    yield "no normal rows", X, np.ones(40), "no normal rows"
    yield "other length", X, y[:-1], "39 labels"
    yield "repeated column", pd.concat([X, X[["kind"]]], axis=1), y, "'kind'"
    yield "durations", X.assign(day=pd.Timedelta("1D")), y, "'day' has type timedelta64"
    yield "lists", X.assign(items=[[1]] * 40), y, "'items' holds values of type list"
    yield "identifier", pd.DataFrame({"id": [f"u{i}" for i in range(2000)]}), None, "'id'"
    texts = X["amount"].astype(str).where(X.index != 5, "oops")
    yield "text in numbers", X.assign(amount=texts), y, "'oops'"
    mixed = X["amount"].astype(object).where(X.index != 5, "oops")
    yield "mixed types", X.assign(amount=mixed), y, "row 5"
    yield "five axes", np.zeros((3, 2, 2, 2, 2)), None, "dim"


def encode(encoder, table):
    return encoder(encoder.prepare(table)).numpy()
