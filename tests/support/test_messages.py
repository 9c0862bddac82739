"""The wording of error messages."""

from __future__ import annotations

import pytest

from r2ad2.support.messages import (
    count,
    did_you_mean,
    quoted,
    reason_of,
    require_known,
    shortened,
    suggestion,
)


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1234, "1,234 rows")]
)
def test_counts(n, text):
    assert count(n, "row") == text


def test_long_values_and_messages_are_abbreviated_in_the_middle():
    assert quoted("a'b") == '"a\'b"'
    long = "start" + "x" * 5000 + "end"
    assert len(quoted(long)) < 70
    assert quoted(long).startswith("'start")
    assert quoted(long).endswith("end'")
    assert shortened("short") == "short"
    assert len(shortened(long)) < 420
    assert shortened(long).endswith("end")


def test_the_column_that_may_be_meant_is_suggested_only_if_it_is_clear():
    columns = ["amount", "kind", "label"]
    assert did_you_mean("Ammount", columns) == ": did you mean 'amount'?"
    assert did_you_mean("zzz", columns) == "; the columns are 'amount', 'kind', 'label'"
    assert did_you_mean("zzz", range(9)).endswith("'7', ...")
    assert suggestion(["amunt", "knd"], columns, columns) == ""
    assert "separate columns with commas" in did_you_mean("label", ["amount;kind;label"])


def test_reasons_are_one_line_or_the_type():
    assert reason_of(ValueError("\nfirst\nsecond")) == "first"
    assert reason_of(EOFError()) == "EOFError"


def test_unknown_names_are_refused_with_the_known_ones():
    require_known(["a"], ["a", "b"], "method")
    with pytest.raises(ValueError, match="unknown method 'c': choose one of a, b"):
        require_known(["a", "c"], iter("ab"), "method")
