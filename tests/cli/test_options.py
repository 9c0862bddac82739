"""Options that several commands share."""

from __future__ import annotations

import pytest

from r2ad2.cli.options import parse_settings


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("0.01", 0.01),
        ("(1, 2)", (1, 2)),
        ("None", None),
        ("indicator", "indicator"),
        ("{[1]: 2}", "{[1]: 2}"),
        ("(" * 5000, "(" * 5000),
        ("-" * 100_000 + "1", "-" * 100_000 + "1"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_settings_are_literals_where_possible_and_else_texts(text, value):
    assert parse_settings([f"x={text}"]) == {"x": value}
