"""What the values of a column look like: whatever is taken for a date can be read as one."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from r2ad2.tables.profile import DATES, sort_texts
from r2ad2.tables.values import ColumnType, convert

# Not all months have these days.
LATE_DAY = re.compile(r"(?<![:\d.,])(29|3[01])(?![:\d])")


def read(text, form):
    values, faults = convert("x", pa.array([text]), ColumnType("date", form))
    assert not faults, text
    return values[0]


@pytest.mark.parametrize("form", DATES)
@given(st.data())
def test_what_looks_like_a_date_can_be_read(form, data):
    pattern = re.compile(DATES[form], re.ASCII)
    text = data.draw(st.from_regex(pattern, fullmatch=True))
    assume(not LATE_DAY.search(text))
    sorts = sort_texts(pa.array([text]), explicit=False)
    assert sorts["date"][0]
    forms = [form for form in DATES if form in sorts and sorts[form][0]]
    assert forms
    for found in forms:
        assert not np.isnat(read(text, found).to_datetime64())


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("2026-01-31 13:45:00,123", "iso", "2026-01-31T13:45:00.123"),
        ("2026-01-31 9:45 PM", "iso", "2026-01-31T21:45"),
        ("2026-01-31T09:45:00.5am", "iso", "2026-01-31T09:45:00.5"),
        ("2026-01-31 12:05 AM", "iso", "2026-01-31T00:05"),
        ("2026-01-31T13:45:00,5+01:00", "iso", "2026-01-31T12:45:00.5"),
        ("1/31/2026 1:45PM", "%m/%d/%Y", "2026-01-31T13:45"),
        ("1/31/2026 1:45:07.25 pm", "%m/%d/%Y", "2026-01-31T13:45:07.25"),
        ("31.01.2026 13:45:00,5", "%d.%m.%Y", "2026-01-31T13:45:00.5"),
        ("2026/01/31T13:45", "%Y/%m/%d", "2026-01-31T13:45"),
        ("31/01/2026 13:45:00.1234567891", "%d/%m/%Y", "2026-01-31T13:45:00.123456"),
        ("31 Oct 2026T13:45:00,0", "%d %b %Y", "2026-10-31T13:45"),
        ("Oct 31, 2026 1:45 pm", "%b %d, %Y", "2026-10-31T13:45"),
        ("9:05:01,5", "time", "1970-01-01T09:05:01.5"),
    ],
)
def test_spellings_of_times(text, form, expected):
    assert sort_texts(pa.array([text]), explicit=False)[form][0]
    assert read(text, form).to_datetime64() == np.datetime64(expected)
    # Next to a usual spelling, and to a missing one.
    usual = "2026-01-31 13:45" if form == "iso" else None
    values, faults = convert("x", pa.array([usual, text, None]), ColumnType("date", form))
    assert not faults
    assert values[1].to_datetime64() == np.datetime64(expected)
    assert values.isna().tolist() == [usual is None, False, True]


@pytest.mark.parametrize(
    "text",
    ["2026-19-01", "2026-01-00", "0000-00-00", "2026-01-01 25:00", "2026-01-01 13:45 PM",
     "2026-01-01Z", "2026-01-01 10:00+99:00", "01/01/2026 10:61", "00/Jan/2026:10:00:00"],
)  # fmt: skip
def test_what_no_clock_or_calendar_shows_is_no_date(text):
    assert not sort_texts(pa.array([text]), explicit=False)["date"][0]
