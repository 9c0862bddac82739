"""Hypothesis strategies for what users may pass by mistake: tables, arrays, labels."""

from __future__ import annotations

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

HUGE = (1.7e308, -1.7e308, 5e-324, -5e-324, 1e-310, 2.0**63, -(2.0**63), 3e38, 0.1, -0.0)
NUMBERS = st.one_of(st.floats(), st.sampled_from(HUGE), st.floats(-10, 10, width=32))
FINITE = NUMBERS.map(lambda value: value if np.isfinite(value) else 1.0)
TEXTS = st.one_of(
    st.text(max_size=5),
    st.sampled_from(
        [
            "",
            " ",
            "a",
            "A",
            "1",
            "1e999",
            "nan",
            "None",
            "\ud800",
            "\x00",
            "\x1a<missing>",
            "\x1a<empty>",
            "\x1a<unknown>",
            "[UNK]",
            "2024-01-01",
            "٣",
            "a\nb",
            '"',
            "x" * 5000,
        ]
    ),
)
TIMES = st.datetimes(datetime.datetime(1678, 1, 1), datetime.datetime(2262, 1, 1))
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    NUMBERS,
    TEXTS,
    TIMES,
    st.dates(),
    st.times(),
    st.binary(max_size=3),
    st.complex_numbers(),
    st.decimals(),
    st.fractions(),
    st.lists(st.integers(), max_size=2),
    st.just({}),
    st.sampled_from([pd.NA, pd.NaT, decimal.Decimal("sNaN"), object, np.float32(1), 10**400]),
)
NAMES = st.one_of(
    st.sampled_from(["a", "a", "b", "amount", "", " ", 0, "0", 1.5, None, np.nan, ("x", 1)]),
    st.text(max_size=3),
)


def _many(values: st.SearchStrategy, n: int) -> st.SearchStrategy:
    return st.one_of(
        st.lists(values, min_size=n, max_size=n),
        values.map(lambda value: [value] * n),  # constant columns
    )


def _series(values: st.SearchStrategy, n: int, dtype: object) -> st.SearchStrategy:
    return _many(values, n).map(lambda items: pd.Series(items, dtype=dtype))


def _or_missing(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.one_of(values, st.none())


def columns(n: int) -> st.SearchStrategy[pd.Series]:
    """Columns of n rows, of every kind that pandas has."""
    small = st.integers(-3, 3)
    texts = st.text("ab", max_size=2)
    int64 = st.integers(-(2**63), 2**63 - 1)
    return st.one_of(
        _series(NUMBERS, n, "float64"),
        _series(FINITE, n, "float64"),
        _series(st.floats(width=32), n, "float32"),
        _series(st.floats(width=16), n, "float16"),
        _series(int64, n, "int64"),
        _series(st.integers(0, 2**64 - 1), n, "uint64"),
        _series(small, n, "int8"),
        _series(st.booleans(), n, "bool"),
        _series(st.complex_numbers(), n, "complex128"),
        _series(_or_missing(int64), n, "Int64"),
        _series(_or_missing(st.booleans()), n, "boolean"),
        _series(_or_missing(FINITE), n, "Float64"),
        _series(_or_missing(texts), n, "string"),
        _series(_or_missing(TEXTS), n, object),
        _series(_or_missing(texts), n, "category"),
        _series(_or_missing(small), n, "category"),
        _series(_or_missing(TIMES), n, "datetime64[ns]"),
        _series(TIMES, n, "datetime64[s]"),
        _series(TIMES, n, "datetime64[ns, Europe/Berlin]"),
        _series(st.timedeltas(datetime.timedelta(-99), datetime.timedelta(99)), n, object),
        _series(small.map(lambda days: pd.Period("2024-01-01", "D") + days), n, None),
        _series(small.map(lambda low: pd.Interval(low, low + 1)), n, None),
        _series(small, n, pd.SparseDtype("int64", 0)),
        _series(_or_missing(small), n, pd.ArrowDtype(pa.int32())),
        _series(_or_missing(texts), n, pd.ArrowDtype(pa.string())),
        _series(_or_missing(TIMES), n, pd.ArrowDtype(pa.timestamp("us"))),
        _series(_or_missing(st.lists(small)), n, pd.ArrowDtype(pa.list_(pa.int64()))),
        _series(_or_missing(st.decimals(-9, 9, places=2)), n, object),
        _series(ODD, n, object),
    )


ROWS = st.sampled_from([0, 1, 2, 3, 6])


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Draw a table of any columns, some of equal or odd names."""
    n = draw(ROWS)
    parts = draw(st.lists(columns(n), max_size=3))
    table = pd.concat(parts, axis=1) if parts else pd.DataFrame(index=range(n))
    names = list("abc")[: len(parts)]
    if draw(st.integers(0, 4)) == 0:
        names = draw(st.lists(NAMES, min_size=len(parts), max_size=len(parts)))
    table.columns = pd.Index(names, dtype=object, tupleize_cols=False)
    if draw(st.booleans()):
        table.index = pd.Index([7] * n)
    return table


@st.composite
def changed_tables(draw: st.DrawFn, valid: pd.DataFrame) -> pd.DataFrame:
    """Draw some rows of a valid table, with a few columns changed, added or dropped."""
    n = draw(ROWS)
    first = draw(st.integers(0, len(valid) - n))
    table = valid.iloc[first : first + n].reset_index(drop=True)
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(list(valid.columns)))
        change = draw(st.sampled_from(["replace", "drop", "repeat", "add", "reorder", "cell"]))
        if change == "drop":
            table = table.drop(columns=name, errors="ignore")
        elif change == "repeat" and name in table:
            table = pd.concat([table, table[[name]]], axis=1)
        elif change == "reorder":
            table = table[draw(st.permutations(sorted(set(table.columns))))]
        elif change == "cell" and n and list(table.columns).count(name) == 1:
            values = table[name].astype(object)
            values.iloc[draw(st.integers(0, n - 1))] = draw(st.one_of(NUMBERS, TEXTS, st.none()))
            table = table.assign(**{name: values})
        elif change in ("replace", "add"):
            other = name if change == "replace" else "odd"
            if list(table.columns).count(other) < 2:  # pandas cannot replace both
                table = table.assign(**{other: draw(columns(n)).set_axis(table.index)})
    return table


def _shapes(draw: st.DrawFn, usual: int) -> tuple[int, ...]:
    sides = st.sampled_from([0, 1, 2, 3, usual])
    any_shape = st.lists(sides, max_size=4).map(tuple)
    return draw(st.one_of(st.tuples(sides, st.just(usual)), any_shape))


@st.composite
def arrays(draw: st.DrawFn, usual: int = 4) -> object:
    """Draw an array or nested list of any type and shape, most often of `usual` columns."""
    shape = _shapes(draw, usual)
    kind = draw(st.sampled_from(["f8", "f8", "f8", "f4", "f2", "i8", "u1", "?", "O", "c16", "U3"]))
    elements = {"f8": NUMBERS, "O": ODD}.get(kind)
    array = draw(nps.arrays(kind, shape, elements=elements))
    return array.tolist() if draw(st.integers(0, 5)) == 0 else array


@st.composite
def labels(draw: st.DrawFn) -> tuple[object, int, object]:
    """Draw labels, the number of samples and the label that means anomaly."""
    n = draw(ROWS)
    values = draw(
        st.sampled_from(
            [st.integers(0, 1), st.booleans(), st.sampled_from(["no", "yes"]), NUMBERS, TEXTS, ODD]
        )
    )
    drawn = draw(_many(values, n))
    form = draw(st.sampled_from(["list", "array", "objects", "series", "column", "none"]))
    objects = np.empty(n, dtype=object)
    objects[:] = drawn
    y = {
        "list": drawn,
        "objects": objects,
        "series": pd.Series(drawn, dtype=object),
        "column": objects.reshape(-1, 1),
        "none": None,
        "array": drawn,
    }[form]
    if form == "array" and values is not ODD:
        y = np.array(drawn)
    other = draw(st.sampled_from([n, n, n, n + 1]))
    return y, other, draw(st.one_of(st.none(), st.sampled_from(drawn or [1]), st.just("yes")))
