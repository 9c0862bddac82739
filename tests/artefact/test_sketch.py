"""What a model keeps of its training columns."""

from __future__ import annotations

import json

import numpy as np

from r2ad2.artefact.sketch import (
    NumberSketch,
    TextSketch,
    TrainingSketch,
    find_again,
    fingerprints,
    points_per_column,
)
from r2ad2.encoders.columns import MISSING_TEXT


def test_a_sketch_of_numbers_has_extremes_ties_and_missing_values():
    sketch = NumberSketch.of(np.array([3.0, 1.0, np.nan, 1.0, 2.0]), n_points=10)
    assert (sketch.n, sketch.n_missing) == (5, 1)
    assert sketch.points == [1.0, 2.0, 3.0]
    assert sketch.shares == [0.5, 0.75, 1.0]
    assert sketch.shares_below == [0.0, 0.5, 0.75]


def test_a_column_without_values_has_no_points():
    assert NumberSketch.of(np.full(3, np.nan)).points == []


def test_a_sketch_of_texts_has_known_categories_that_do_not_occur():
    texts = np.array(["a", "b", "a", MISSING_TEXT], dtype=object)
    sketch = TextSketch.of(texts, known=["c"])
    assert sketch.counts == {"a": 2, "b": 1, "c": 0}
    assert (sketch.n_missing, sketch.n_others) == (1, 0)


def test_rare_categories_beyond_a_thousand_are_counted_together():
    texts = np.array([f"t{i}" for i in range(1500)] * 2 + ["t0"], dtype=object)
    sketch = TextSketch.of(texts)
    assert len(sketch.counts) == 1000
    assert sketch.counts["t0"] == 3
    assert sketch.n_others == 1000


def test_a_sketch_survives_json_and_its_size_is_bounded(rng):
    sketch = TrainingSketch(
        {"x": NumberSketch.of(rng.normal(size=100_000)), "t": TextSketch.of(np.array(["a"], "O"))},
        {"x": NumberSketch.of(rng.normal(size=50))},
        0.25,
        fingerprints(rng.normal(size=(7, 2))),
    )
    text = json.dumps(sketch.to_dict())
    again = TrainingSketch.from_dict(json.loads(text))
    assert again.normal == sketch.normal
    assert again.usual == sketch.usual
    assert again.usual_score == 0.25
    np.testing.assert_array_equal(again.held_back, sketch.held_back)
    assert len(text) < 10_000
    assert 20_000 * points_per_column(20_000) <= 130_000


def test_held_back_rows_are_found_again_as_often_as_they_were_held_back():
    rows = np.array([[1.0], [2.0], [2.0], [2.0], [3.0]])
    prints = fingerprints(rows)
    np.testing.assert_array_equal(find_again(prints, prints[[1, 2, 4]]), [1, 2, 4])
    np.testing.assert_array_equal(find_again(prints[::-1], prints[[0]]), [4])
    assert not len(find_again(prints, fingerprints(np.array([[9.0]]))))
