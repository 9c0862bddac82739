"""Encoding of mixed tables: columns of all types, missing values, timestamps."""

from __future__ import annotations

import datetime
import re
from decimal import Decimal

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from r2ad2.encoders import statistics
from r2ad2.encoders.arrays import VectorEncoder
from r2ad2.encoders.tables import TableEncoder
from r2ad2.tables.dates import as_seconds, from_seconds
from tests.helpers.tables import encode

N = 12
ALL = np.ones(N, dtype=bool)
WHEN = pd.Timestamp("2024-03-04 06:00")  # a Monday


def learn(missing="error", **columns):
    table = pd.DataFrame(columns)
    return TableEncoder.learn(table, np.ones(len(table), bool), missing=missing), table


def numbers():
    return np.arange(N) % 4


def texts():
    return np.array(["a", "b", "c"])[np.arange(N) % 3]


@pytest.mark.parametrize("dtype", ["uint64", "UInt64", "uint64[pyarrow]"])
def test_numbers_beyond_int64_are_exported_as_doubles(dtype):
    table = pd.DataFrame({"hash": pd.array([2**64 - 1, 2**63, 5, 6], dtype=dtype)})
    encoder = TableEncoder.learn(table, np.ones(4, bool))
    assert encoder.types.get("hash", "float64") == "float64"
    signed = pd.DataFrame({"hash": pd.array([1, 2, 3, 4], dtype="uint32")})
    assert TableEncoder.learn(signed, np.ones(4, bool)).types == {"hash": "int64"}


SAME_NUMBERS = {
    "int64": numbers(),
    "uint8": numbers().astype(np.uint8),
    "float32": numbers().astype(np.float32),
    "Int64": pd.array(numbers(), dtype="Int64"),
    "Float32": pd.array(numbers(), dtype="Float32"),
    "objects": numbers().astype(object),
    "decimals": pd.array([Decimal(int(n)) for n in numbers()], dtype=object),
    "arrow integers": pd.array(numbers(), dtype=pd.ArrowDtype(pa.int32())),
    "arrow decimals": pd.array(
        [Decimal(int(n)) for n in numbers()], dtype=pd.ArrowDtype(pa.decimal128(5, 2))
    ),
}
SAME_TEXTS = {
    "object": texts().astype(object),
    "str": pd.array(texts(), dtype="str"),
    "string": pd.array(texts(), dtype="string"),
    "category": pd.Categorical(texts()),
    "arrow strings": pd.array(texts(), dtype=pd.ArrowDtype(pa.string())),
    "arrow dictionary": pd.arrays.ArrowExtensionArray(pa.array(texts()).dictionary_encode()),
}
TIMES = pd.date_range(WHEN, periods=N, freq="5h")
SAME_TIMES = {
    "datetime64[ns]": TIMES.astype("datetime64[ns]"),
    "datetime64[s]": TIMES.astype("datetime64[s]"),
    "UTC": TIMES.tz_localize("UTC"),
    "another time zone": TIMES.tz_localize("UTC").tz_convert("Asia/Tokyo"),
    "objects": np.array(TIMES.to_pydatetime(), dtype=object),
    "arrow timestamps": pd.array(TIMES, dtype=pd.ArrowDtype(pa.timestamp("us"))),
}


@pytest.mark.parametrize(
    ("columns", "width"),
    [(SAME_NUMBERS, 1), (SAME_TEXTS, 4), (SAME_TIMES, 4)],
    ids=["numbers", "texts", "timestamps"],
)
def test_columns_of_equal_content_are_encoded_equally(columns, width):
    results = {}
    for kind, values in columns.items():
        encoder, table = learn(x=values)
        results[kind] = encode(encoder, table)
        assert results[kind].shape == (N, width)
        for other in columns.values():  # and one type may follow another
            np.testing.assert_array_equal(
                encode(encoder, pd.DataFrame({"x": other})), results[kind], err_msg=kind
            )
    first = next(iter(results.values()))
    for kind, result in results.items():
        np.testing.assert_array_equal(result, first, err_msg=kind)


def test_booleans_are_zero_and_one():
    for values in (np.arange(N) % 2 == 0, pd.array(np.arange(N) % 2 == 0, dtype="boolean")):
        encoder, table = learn(x=values)
        np.testing.assert_array_equal(encode(encoder, table)[:, 0], (np.arange(N) + 1) % 2)


def test_constant_columns_are_harmless():
    encoder, table = learn(x=np.full(N, 7.0), kind=["a"] * N)
    np.testing.assert_array_equal(encode(encoder, table), np.tile([0, 0, 1], (N, 1)))
    assert np.isfinite(encode(encoder, table.assign(x=1e300))).all()


def test_clocks_go_round():
    encoder, _ = learn(when=TIMES)
    late, early, noon, next_week = encode(
        encoder,
        pd.DataFrame(
            {
                "when": pd.to_datetime(
                    ["2024-03-04 23:59", "2024-03-05 00:01", "2024-03-04 12:00", "2031-03-10 12:00"]
                )
            }
        ),
    )
    assert np.abs(late - early).max() < 0.01
    assert np.abs(late - noon).max() > 0.9
    # The date does not matter, but for the day of the week (both are Mondays).
    np.testing.assert_allclose(noon, next_week, atol=1e-6)
    assert all(0 <= value <= 1 for value in (*late, *noon))


def test_dates_in_texts_are_read_where_timestamps_were_learnt():
    encoder, table = learn(when=TIMES)
    texts = table.astype({"when": str})
    np.testing.assert_array_equal(encode(encoder, texts), encode(encoder, table))
    dates = pd.DataFrame({"when": [datetime.date(2024, 3, 4)] * 2})
    assert encode(encoder, dates).shape == (2, 4)
    with pytest.raises(ValueError, match="'when' is a timestamp column, but row 1 holds 'soon'"):
        encoder.prepare(pd.DataFrame({"when": ["2024-03-04", "soon"]}))
    with pytest.raises(ValueError, match="these values are numbers"):
        encoder.prepare(pd.DataFrame({"when": [1.5]}))


@pytest.mark.parametrize(
    "texts",
    [
        ["2026-01-05", "2026-02-28"],
        ["2026-01-05 07:30:00", "2026-01-05T07:30:01.5Z"],
        ["05.01.2026", "28.02.2026 13:45"],
        ["1/5/2026", "2/28/2026"],
    ],
)
def test_dates_as_texts_are_no_categories(texts):
    column = texts * (len(numbers()) // 2)
    with pytest.raises(ValueError, match=r"'when' holds dates as texts.*pd\.to_datetime"):
        learn(when=column)
    learn(when=pd.Categorical(column))
    learn(when=[*column[:-1], "unknown"])  # texts, by one of them
    learn(when=["10.0.1", "10.0.2"] * (len(column) // 2))  # versions


def test_missing_values_get_a_flag():
    amount = np.where(numbers() == 3, np.nan, numbers())
    kind = np.where(numbers() == 0, None, texts())
    when = pd.Series(TIMES).where(numbers() != 1)
    encoder, table = learn("indicator", amount=amount, kind=kind, when=when, full=numbers())
    assert encoder.fills["amount"] == pytest.approx(1.0)
    result = encode(encoder, table)
    flags = {name: i for i, (name, detail) in enumerate(encoder.feature_names)}  # the last one
    for name, rows in (("amount", 3), ("kind", 0), ("when", 1), ("full", -1)):
        np.testing.assert_array_equal(result[:, flags[name]], numbers() == rows)
    assert np.isfinite(result).all()
    np.testing.assert_allclose(result[numbers() == 3, 0], 0.5)  # 1.0 in the range 0 to 2
    slots = encoder.feature_groups["kind"][:-1]
    np.testing.assert_array_equal(result[:, slots].sum(axis=1), numbers() != 0)
    # Columns that were complete in training may be incomplete later on.
    later = encode(encoder, table.assign(full=np.nan))
    assert later[:, flags["full"]].all()


@pytest.mark.parametrize("dtype", [object, "str", "category", "float64", "Int64"])
def test_a_column_without_any_value_is_constant(dtype):
    encoder, table = learn("indicator", x=pd.Series([None] * N, dtype=dtype), n=numbers())
    result = encode(encoder, table)
    assert np.isfinite(result).all()
    assert (result.std(axis=0) > 0).sum() == 1


def test_texts_in_a_mostly_empty_column_are_categories():
    promo = pd.Series([None] * 8 + ["VIP"] * 4, dtype=object)
    encoder, _ = learn("indicator", promo=promo, n=numbers())
    assert encoder.categories == {"promo": ["VIP"]}
    odd = pd.Series([None] * 8 + ["1", "2", "soon", "4"], dtype=object)
    with pytest.raises(ValueError, match="'x' looks numeric, but row 10 holds 'soon'"):
        learn("indicator", x=odd)


def test_missing_values_are_an_error_by_default():
    with pytest.raises(ValueError, match=re.escape("'x' (1 row)")):
        learn(x=[1.0, np.nan])
    encoder, _ = learn(x=[1.0, 2.0], kind=["a", "b"])
    with pytest.raises(ValueError, match="'kind'"):
        encoder.prepare(pd.DataFrame({"x": [1.0], "kind": [None]}))


def test_columns_of_arrow_are_checked_as_others_are():
    encoder, _ = learn(x=[1.0, 2.0], kind=["a", "b"])
    numbers = pd.DataFrame({"x": [np.nan, 2.0], "kind": ["a", "b"]})
    arrow = numbers.assign(x=pd.array(pa.array([np.nan, 2.0]), pd.ArrowDtype(pa.float64())))
    assert arrow["x"].notna().all()  # pandas does not count NaN as missing here
    with pytest.raises(ValueError, match=re.escape("missing values in column 'x' (1 row)")):
        encoder.prepare(arrow)
    forgiving, _ = learn("indicator", x=[1.0, 2.0, np.nan], kind=["a", "b", None])
    for name, prepared in forgiving.prepare(numbers).items():
        np.testing.assert_array_equal(forgiving.prepare(arrow)[name], prepared)
    texts = pd.array(["abc", "1"], pd.ArrowDtype(pa.string()))
    with pytest.raises(ValueError, match="'x' is numeric, but row 0 holds 'abc'"):
        encoder.prepare(numbers.assign(x=texts))


def test_missing_numbers_in_arrays():
    X = np.arange(8.0).reshape(4, 2)
    X[1, 0] = np.nan
    encoder = VectorEncoder.learn(X, np.ones(4, bool), missing="indicator")
    result = encoder(encoder.prepare(X)).numpy()
    np.testing.assert_array_equal(result[:, 2:], np.isnan(X))
    np.testing.assert_allclose(result[1, 0], 10 / 3 / 6, rtol=1e-6)
    assert list(encoder.feature_groups["x1"]) == [1, 3]
    with pytest.raises(ValueError, match="column 0"):
        encoder.prepare(np.array([[np.inf, 0]]))
    with pytest.raises(ValueError, match="column 0"):
        VectorEncoder.learn(X, np.ones(4, bool))


def test_categories_of_rows_not_in_use_stay_unknown():
    table = pd.DataFrame({"kind": ["a", "b", "c"]})
    in_use = np.array([True, True, False])
    encoder = TableEncoder.learn(table, in_use, in_use)
    assert encoder.categories == {"kind": ["a", "b"]}
    np.testing.assert_array_equal(encode(encoder, table)[2], [1, 0, 0])


def test_encoders_survive_serialisation():
    encoder, table = learn("indicator", x=numbers(), kind=texts(), when=TIMES)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(encoder))
    np.testing.assert_array_equal(encode(again, table), encode(encoder, table))
    np.testing.assert_array_equal(
        encode(again, table[["when", "kind", "x"]]), encode(encoder, table)
    )


def test_typical_sample_has_medians_and_frequent_categories():
    encoder, table = learn("indicator", x=[0, 1, 2, 10], kind=["a", "b", "b", "c"])
    typical = encoder.typical(encode(encoder, table))
    np.testing.assert_allclose(typical, [0.15, 0, 0, 1, 0, 0, 0], atol=1e-6)


VALUES = st.one_of(st.none(), st.floats(-1e9, 1e9), st.text(max_size=4), st.booleans())


@given(st.lists(VALUES, min_size=2, max_size=8))
def test_any_column_is_encoded_or_refused_with_its_name(values):
    table = pd.DataFrame({"odd": pd.Series(values, dtype=object), "n": range(len(values))})
    encoder, message = None, ""
    try:
        encoder = TableEncoder.learn(table, np.ones(len(values), bool), missing="indicator")
    except ValueError as error:
        message = str(error)
    if encoder is None:
        assert "'odd'" in message
        return
    result = encode(encoder, table)
    assert np.isfinite(result).all()
    assert result.shape == (len(values), *encoder.sample_shape)


# ---- identifiers, many categories, codes --------------------------------------------------


@pytest.mark.parametrize("n_rows", [21, 300, 3000])
def test_identifiers_are_refused_in_tables_of_any_size(n_rows):
    ids = [f"u{i:04}" for i in range(n_rows)]
    with pytest.raises(ValueError, match=f"'id' holds {n_rows:,} different texts .* identifier"):
        learn(id=ids, x=np.arange(n_rows))
    ids[1] = ids[0]
    with pytest.raises(ValueError, match="an identifier says nothing about new rows, drop it"):
        learn(id=ids, x=np.arange(n_rows))
    encoder, _ = learn(id=pd.Categorical(ids))  # whoever declares categories means them
    assert len(encoder.categories["id"]) == min(n_rows - 1, 1000)


def test_few_rows_may_all_differ():
    encoder, _ = learn(name=[f"n{i}" for i in range(20)])
    assert len(encoder.categories["name"]) == 20


def test_rare_values_of_a_column_with_very_many_share_one_slot(caplog):
    random = np.random.default_rng(0)
    often = np.repeat([f"often{i:03}" for i in range(999)], 20)
    rare = np.array([f"rare{i:05}" for i in range(24_000)])
    texts = random.permutation(np.concatenate([often, np.repeat(rare, 2)]))
    encoder, _ = learn(ip=texts)
    # The last slot goes to the first of the rare ones, whatever the order of the rows.
    assert encoder.categories["ip"] == [*sorted(set(often)), "rare00000"]
    assert "'ip' holds 24,999 different texts: the 1,000 most frequent" in caplog.text
    assert learn(ip=np.sort(texts))[0].categories == encoder.categories
    one = encode(encoder, pd.DataFrame({"ip": ["rare23000", "never seen", "often000"]}))
    assert one.shape == (3, 1001)
    np.testing.assert_array_equal(one.argmax(axis=1), [0, 0, 1])


def test_only_rows_in_use_decide_which_values_are_frequent(monkeypatch):
    monkeypatch.setattr(statistics, "_MAX_CATEGORIES", 1)
    table = pd.DataFrame({"kind": ["a"] * 5 + ["b"] * 2})
    in_use = np.array([True] + [False] * 4 + [True] * 2)
    assert TableEncoder.learn(table, in_use, in_use).categories == {"kind": ["b"]}


CODES = [80, 443, 22]


@pytest.mark.parametrize("trained", [int, float, str])
@pytest.mark.parametrize(
    "form",
    [
        np.array(CODES),
        np.array(CODES, dtype=np.float32),
        pd.Categorical(CODES),
        pd.Categorical([float(code) for code in CODES]),
        pd.array(CODES, dtype="Int64"),
        np.array(CODES, dtype=object),
        np.array([Decimal(code) for code in CODES], dtype=object),
        pd.array(CODES, dtype=pd.ArrowDtype(pa.int32())),
    ],
    ids=lambda form: f"{type(form).__name__}[{form.dtype}]",
)
def test_codes_are_the_same_category_whether_integers_or_floats(trained, form):
    encoder, table = learn("indicator", port=pd.Categorical([trained(code) for code in CODES]))
    expected = encode(encoder, table)
    np.testing.assert_array_equal(encode(encoder, pd.DataFrame({"port": form})), expected)
    with_blank = pd.DataFrame({"port": [*map(float, CODES), np.nan]})
    np.testing.assert_array_equal(encode(encoder, with_blank)[:3], expected)
    assert encode(encoder, with_blank)[3, -1] == 1  # missing


def test_codes_with_leading_zeros_are_not_numbers():
    encoder = TableEncoder(["code"], {}, {"code": ["007", "1", "1.0", "7.5"]})
    found = encode(encoder, pd.DataFrame({"code": [7.0, 7.5, 1.0, 1.0]}))
    names = ["", *encoder.categories["code"]]
    assert [names[i] for i in found.argmax(axis=1)] == ["", "7.5", "1.0", "1.0"]
    found = encode(encoder, pd.DataFrame({"code": [7, 1]}))
    assert [names[i] for i in found.argmax(axis=1)] == ["", "1"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "object"])
def test_dates_of_any_year_are_encoded(unit):
    dates = ["9999-12-31T23:00:00", "0001-01-01T00:00:00", "2024-03-04T06:00:00.25"]
    values = np.array(dates, dtype=f"datetime64[{'us' if unit == 'object' else unit}]")
    seconds = as_seconds("x", pd.Series(values.astype(object) if unit == "object" else values))
    assert seconds[:2].tolist() == [253_402_297_200, -62_135_596_800]
    assert seconds[2] == 1_709_532_000.25 if unit != "s" else 1_709_532_000
    np.testing.assert_array_equal(as_seconds("x", pd.Series(from_seconds(seconds))), seconds)
    encoder, table = learn(x=values)
    assert np.isfinite(encode(encoder, table)).all()


def test_seconds_do_not_depend_on_the_unit_of_a_column(rng):
    stamps = rng.integers(-(2**52), 2**52, 1000).astype("datetime64[us]")
    seconds = as_seconds("x", pd.Series(stamps))
    as_nanoseconds = pd.Series(stamps.astype("datetime64[ns]"))
    np.testing.assert_array_equal(as_seconds("x", as_nanoseconds), seconds)
    assert np.isnat(from_seconds(np.array([np.nan, 1e12, -1e12]))).all()


@pytest.mark.parametrize("dtype", ["str", object, "category"])
def test_texts_of_codes_are_the_same_category_whether_they_end_in_zero(dtype):
    known = ["443.0", "80", "80.0", "007", "v1", "1.5", "22"]
    encoder = TableEncoder(["port"], {}, {"port": known})
    texts = pd.Series(["443", "80", "80.0", "007.0", "v1.0", "1.50", "22.0", "1.5"], dtype=dtype)
    expected = ["443.0", "80", "80.0", "", "", "", "22", "1.5"]
    found = encode(encoder, pd.DataFrame({"port": texts})).argmax(axis=1)
    assert [["", *known][i] for i in found] == expected
    # As exported models take them, without being prepared.
    found = encoder({"port": tf.constant(texts.tolist())}).numpy().argmax(axis=1)
    assert [["", *known][i] for i in found] == expected


def test_two_spellings_of_a_code_are_learnt_as_one_category():
    encoder, table = learn(port=pd.Categorical(["80", "80.0", "443.0", "x.0", "x", "007.0", "007"]))
    assert encoder.categories["port"] == ["007", "007.0", "443.0", "80", "x", "x.0"]
    assert (encode(encoder, table)[:, 0] == 0).all()  # no row is unknown


@pytest.mark.parametrize("spelling", [("TRUE", "FALSE"), ("true", "false"), ("True", "False")])
def test_booleans_are_the_categories_of_their_spelling(spelling):
    encoder, table = learn("indicator", flag=np.resize(spelling, N))
    flags = pd.DataFrame({"flag": np.resize([True, False], N)})
    np.testing.assert_array_equal(encode(encoder, flags), encode(encoder, table))
    with_blank = pd.DataFrame({"flag": [True, False, None]})
    found = encode(encoder, with_blank)
    np.testing.assert_array_equal(found[:2], encode(encoder, table)[:2])
    assert found[2, -1] == 1
