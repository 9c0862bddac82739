"""The studies of the analyst's loop: their protocol, and that they count what they say."""

from __future__ import annotations

import numpy as np
import pytest

from r2ad2.experiments import guarantee, labelling


def test_labels_and_anomalies_found_are_counted(rng):
    X = rng.normal(size=(300, 3))
    y = (np.arange(300) % 10 == 0).astype(int)
    X[y == 1] += 4
    task = labelling.make_task(X, y, seed=0)
    rows = list(labelling.play(task, labelling.by_score, 0, rounds=2, labels=4, n_trees=10))
    assert [row["labels"] for row in rows] == [0, 4, 8]
    assert [row["found"] for row in rows] == sorted(row["found"] for row in rows)
    assert 0 < rows[2]["found"] <= 8
    assert rows[2]["AP"] > 0.8


def test_labelling_ends_when_no_sample_is_left(rng):
    X = rng.normal(size=(60, 2))
    y = (np.arange(60) % 5 == 0).astype(int)
    task = labelling.make_task(X, y, seed=0)
    suggest = labelling.STRATEGIES["suggest"]
    rows = list(labelling.play(task, suggest, 0, rounds=5, labels=30, n_trees=5))
    assert rows[-1]["labels"] == len(task.X) - len(task.known)
    assert len(rows) < 6


@pytest.mark.slow
def test_rows_held_back_once_stay_out_of_training_and_reviewed_ones_do_not_join(monkeypatch):
    monkeypatch.setattr(guarantee, "_N_TRAIN", 400)
    monkeypatch.setattr(guarantee, "_N_FRESH", 300)
    sizes = {
        way: [row["n_held_back"] for row in guarantee.simulate(way, 0, rounds=1, labels=60)]
        for way in ("held back once", "reviewed rows join")
    }
    assert sizes["held back once"][0] == sizes["held back once"][1]
    assert sizes["reviewed rows join"][1] > sizes["reviewed rows join"][0]
