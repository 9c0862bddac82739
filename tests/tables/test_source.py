"""Which rows of a labelled table are known anomalies, and which columns are features."""

from __future__ import annotations

import decimal
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from r2ad2.tables.dates import as_seconds
from r2ad2.tables.source import LabelReader, TableSource


def labels(source, values, **options):
    return source.labels(pd.DataFrame({"label": values}), **options).tolist()


@pytest.mark.parametrize(
    "values", [[0, 1], [0.0, 1.0], ["0", " 1"], pd.Categorical([0, 1]), ["0", "1"]]
)
def test_one_marks_anomalies_in_any_type(values):
    assert labels(TableSource("label"), pd.Series(values)) == [0, 1]


def test_named_values_decide_and_unlabelled_rows_are_normal():
    values = ["attack", None, "scan", "normal"]
    assert labels(TableSource("label", anomalous=("attack", "scan")), values) == [1, 0, 1, 0]
    complete = ["attack", "normal", "scan"]
    assert labels(TableSource("label", normal=("normal",)), complete) == [1, 0, 1]
    assert labels(TableSource("label", anomalous=("2",)), [1.0, 2.0, 3.0]) == [0, 1, 0]


@pytest.mark.parametrize(
    ("source", "values", "message"),
    [
        (TableSource("label"), [0, 1, 2], r"holds 3 different values \('0', '1', '2'\)"),
        (TableSource("label"), [0, None], "'label' is empty in 1 row"),
        (TableSource("label", normal=("a",)), ["a", None], "'label' is empty in 1 row"),
        (TableSource("lable"), [0, 1], "no label column 'lable': did you mean 'label'"),
        (
            TableSource("label", anomalous=("x",)),
            ["a", "b"],
            "holds none of 'x'; it holds 'a', 'b'",
        ),
        (
            TableSource("label", anomalous=("fraud",)),
            pd.Series([None, 1.0, "x"], dtype=object),
            "holds none of 'fraud'",
        ),
        (
            TableSource("label", anomalous=("fraud",)),
            pd.Series([], dtype=pd.ArrowDtype(pa.int32())),
            "holds none of 'fraud'",
        ),
        (TableSource("label"), [decimal.Decimal("sNaN")], "'label' holds a number that cannot be"),
    ],
)
def test_unclear_labels_are_refused(source, values, message):
    with pytest.raises(ValueError, match=message):
        labels(source, values)


def test_part_of_a_table_may_lack_the_named_values():
    assert labels(TableSource("label", anomalous=("x",)), ["a", "b"], partial=True) == [0, 0]


@pytest.mark.parametrize("named", ["anomalous", "normal"])
def test_a_named_value_may_come_after_any_number_of_others(named):
    reader = LabelReader(TableSource("label", **{named: ("x",)}))
    for values in (map(str, range(1500)), "bb"):
        reader.read(pa.array(list(values)))
    with pytest.raises(ValueError, match="holds none of 'x'; it holds '0', '1'"):
        reader.check()
    reader.read(pa.array(["b", "x"]))
    reader.check()


def test_two_label_columns_of_one_name_are_refused():
    table = pd.DataFrame([[0, 1]], columns=["label", "label"])
    with pytest.raises(ValueError, match="2 label columns 'label'"):
        TableSource("label").labels(table)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "y", "anomalous": ("a",), "normal": ("b",)}, "not both"),
        ({"label": "", "anomalous": ("a",)}, "--label"),
        ({"label": "", "normal": ("a",)}, "--label"),
    ],
)
def test_contradicting_sources_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        TableSource(**options)


def test_a_source_is_the_same_after_its_way_through_json():
    source = TableSource("y", drop=("id", "absent"), timestamps=("when",), types={"x": "number"})
    kept = json.loads(json.dumps(source.to_dict()))
    assert TableSource(**kept).to_dict() == source.to_dict()


def test_seconds_keep_fractions_and_missing_values():
    texts = pd.Series(["1970-01-01 00:00:01", "1970-01-01T00:00:02.5", None])
    np.testing.assert_array_equal(as_seconds("when", texts), [1, 2.5, np.nan])
