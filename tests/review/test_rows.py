"""Rows keep their key however they are read; the queue is searched and filtered."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from r2ad2.review.queue import is_shown, search
from r2ad2.review.rows import ReviewRows, concatenate, content_keys
from r2ad2.review.typical import TypicalValues


@pytest.fixture
def payments():
    return pd.DataFrame(
        {
            "amount": [1.0, 250.0, np.nan, 1.0],
            "card type": ["debit", "credit", "debit", "debit"],
            "when": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-01"]),
        }
    )


def test_keys_do_not_depend_on_types_order_or_other_rows(payments):
    keys = content_keys(payments)
    assert keys[0] == keys[3]
    assert len(set(keys)) == 3
    other = payments.iloc[[0]].astype({"amount": "int64"})[["when", "card type", "amount"]]
    assert content_keys(other[payments.columns])[0] == keys[0]
    assert (
        content_keys(payments.assign(amount=-0.0))[0] == content_keys(payments.assign(amount=0))[0]
    )


@pytest.mark.parametrize(
    "column",
    [
        pd.array([True, False, None], "boolean"),
        pd.Series([True, False, None], dtype=object),
        pd.Series([1, 0, None], dtype=object),
        pd.array([1, 0, None], "Int64"),
    ],
)
def test_numbers_have_one_key_whatever_type_holds_them(column):
    as_floats = pd.DataFrame({"a": [1.0, 0.0, np.nan], "b": ["x", "y", "z"]})
    assert (content_keys(as_floats) == content_keys(as_floats.assign(a=column))).all()


def test_ids_have_all_their_digits():
    cards = [4000123412340001.0, 4000123412349999.0, 7.0, 0.1, 1e300, 0.12345678901234]
    texts = ["4000123412340001", "4000123412349999", "7", "0.1", "1e+300", "0.12345678901234"]
    rows = ReviewRows.of(np.zeros((6, 1)), pd.DataFrame({"card": cards}))
    assert rows.keys.tolist() == texts
    nullable = pd.DataFrame({"card": pd.array(cards, "Float64")})
    assert ReviewRows.of(np.zeros((6, 1)), nullable).keys.tolist() == texts


def test_one_time_has_one_key_in_all_time_zones():
    table = pd.DataFrame({"when": pd.to_datetime(["2026-01-01 10:00", "2026-07-01 10:00"])})
    there = table.assign(when=table["when"].dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin"))
    assert (content_keys(there) == content_keys(table)).all()


def test_keys_tell_apart_texts_that_look_alike_when_joined():
    table = pd.DataFrame({"a": ["x", "x1:"], "b": ["1:y", "y"]})
    assert len(set(content_keys(table))) == 2


def test_categories_stay_categories_with_the_same_keys(payments):
    declared = payments.astype({"card type": "category"})
    assert content_keys(declared).tolist() == content_keys(payments).tolist()
    joined = concatenate([declared, payments[:1].assign(**{"card type": "7A"})])
    assert joined["card type"].dtype == "category"
    assert joined["card type"].tolist() == ["debit", "credit", "debit", "debit", "7A"]
    assert concatenate([payments, declared])["card type"].dtype == payments["card type"].dtype


def test_identical_rows_are_shown_once(payments):
    rows = ReviewRows.of(payments)
    assert rows.names.tolist() == ["row 0", "row 1", "row 2", "row 3"]
    assert rows.n_alike.tolist() == [2, 1, 1, 2]
    assert rows.is_first.tolist() == [True, True, True, False]
    assert rows.positions == {rows.keys[i]: i for i in range(3)}
    assert rows.content(2) == {"amount": None, "card type": "debit", "when": "2026-01-03 00:00:00"}


def test_ids_must_be_there_and_unique(payments):
    ids = pd.DataFrame({"id": [7, 8, 9, 7]})
    with pytest.raises(ValueError, match="id '7' appears more than once"):
        ReviewRows.of(payments, ids)
    with pytest.raises(ValueError, match="row 13 has no id in column 'id'"):
        ReviewRows.of(payments, pd.DataFrame({"id": ["a", "b", "c", None]}), [10, 11, 12, 13])
    rows = ReviewRows.of(payments, ids.assign(shop=["x", "x", "x", "y"]))
    assert rows.keys.tolist()[:2] == ['["7", "x"]', '["8", "x"]']


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [0, 1, 2]),
        ("DEBIT", [0, 2]),
        ("debit 2026-01-03", [2]),
        ("amount>1", [1]),
        ("amount<=1", [0]),
        ('"card type"=debit amount=1', [0]),
        ('"Card Type"=deb', []),
        ("<script>", []),
    ],
)
def test_search_finds_words_and_conditions(payments, text, found):
    rows = ReviewRows.of(payments)
    assert search(rows, text, np.array([0, 1, 2])).tolist() == found


@pytest.mark.parametrize(
    ("text", "found"), [("kind>card", [0]), ("kind<x", [0, 1, 2]), ("day>2026-01-02", [2])]
)
def test_missing_texts_and_days_compare_as_empty(text, found):
    days = pd.to_datetime(["2026-01-01", None, "2026-01-03"])
    rows = ReviewRows.of(pd.DataFrame({"kind": ["visa", None, "amex"], "day": days}))
    assert search(rows, text, np.array([0, 1, 2])).tolist() == found


def test_search_says_what_is_wrong(payments):
    rows = ReviewRows.of(payments)
    with pytest.raises(ValueError, match="no column 'price'"):
        search(rows, "price>3", np.arange(3))
    with pytest.raises(ValueError, match="'much' is not one"):
        search(rows, "amount>much", np.arange(3))


def test_filters(payments):
    labels = np.array(["", "anomaly", "normal", ""], dtype=object)
    flagged = np.array([True, True, False, False])
    shown = {
        name: np.flatnonzero(is_shown(name, labels, flagged)).tolist()
        for name in ("unreviewed", "flagged", "reviewed", "anomaly", "unsure", "all")
    }
    assert shown == {
        "unreviewed": [0, 3], "flagged": [0], "reviewed": [1, 2], "anomaly": [1], "unsure": [],
        "all": [0, 1, 2, 3],
    }  # fmt: skip


def test_values_are_compared_with_normal_rows():
    rng = np.random.default_rng(0)
    normal = pd.DataFrame(
        {
            "amount": rng.uniform(0, 100, 1000),
            "shop": np.repeat(["food", "fuel", "odd"], [600, 395, 5]),
            "is_new": np.arange(1000) % 2 == 0,
        }
    )
    typical = TypicalValues(normal)

    def unusual(**values):
        row = pd.DataFrame(
            {**{n: [normal[n][0]] for n in normal}, **{n: [v] for n, v in values.items()}}
        )
        return {one.name: one.unusual for one in typical.compare(row)}

    assert unusual(amount=50.0) == {"amount": "", "shop": "", "is_new": ""}
    assert unusual(amount=200.0)["amount"] == "above all normal rows"
    assert unusual(amount=-1.0)["amount"] == "below all normal rows"
    assert unusual(amount=99.0)["amount"].startswith("higher than 9")
    assert unusual(amount=np.nan)["amount"] == "missing"
    assert unusual(shop="odd")["shop"] == "rare: 0.5 % of normal rows"
    assert unusual(shop="bank")["shop"] == "never among normal rows"
    shop = typical.compare(normal.iloc[[0]])[1]
    assert shop.typical == "food 60 %, fuel 39.5 %, odd 0.5 %"
