"""Progress: what is shown of each phase, and where."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
from rich.console import Console

from r2ad2 import R2AD2Detector
from r2ad2.support import progress
from r2ad2.support.progress import TrainingProgress
from tests.helpers.detectors import SMALL


@pytest.fixture
def screen(monkeypatch):
    """Show what would be on standard error, as a terminal if asked for."""
    stream = io.StringIO()

    def replace(terminal):
        monkeypatch.setattr(
            progress,
            "Console",
            lambda **kwargs: Console(
                file=stream, width=120, force_terminal=terminal, quiet=kwargs["quiet"]
            ),
        )
        return stream

    return replace


@pytest.mark.parametrize("terminal", [False, True])
def test_all_phases_of_a_training_are_shown(screen, terminal, rng):
    stream = screen(terminal)
    R2AD2Detector(**SMALL, verbose=1).fit(rng.random((40, 3)))
    shown = stream.getvalue()
    order = [shown.index(name) for name in ("autoencoder", "retraining", "gradients", "alarm")]
    assert order == sorted(order)
    for part in ("2/2", "36/36", "8/8", "loss", "remaining"):
        assert part in shown


def test_nothing_is_shown_by_default(screen, rng):
    stream = screen(True)
    detector = R2AD2Detector(**SMALL).fit(rng.random((40, 3)))
    detector.explain(rng.random((2, 3)))
    assert stream.getvalue() == ""


def test_about_ten_lines_per_phase_away_from_terminals(screen):
    stream = screen(False)
    with TrainingProgress(1) as shown:
        phase = shown.steps("work", 1000)
        for done in range(7, 1001, 7):
            phase.update(done)
        phase.update(1000)
    lines = stream.getvalue().splitlines()
    assert 9 <= len(lines) <= 12
    assert lines[-1].startswith("work: sample 1,000/1,000")
    assert "about 0 s remaining" in lines[-1]


def test_early_stopping_is_shown(screen, rng):
    for terminal in (True, False):
        stream = screen(terminal)
        settings = SMALL | {"epochs": 50, "learning_rate": 0.05, "early_stopping": True}
        settings |= {"n_iter_no_change": 1, "verbose": 1}
        R2AD2Detector(**settings).fit(np.tile(rng.random((40, 1)), 3))
        assert "stopped early" in stream.getvalue()


def test_phases_are_logged(rng, caplog):
    with caplog.at_level(logging.INFO, logger="r2ad2"):
        settings = SMALL | {"epochs": 50, "learning_rate": 0.05, "early_stopping": True}
        R2AD2Detector(**settings, n_iter_no_change=1).fit(np.tile(rng.random((40, 1)), 3))
    lines = [r.getMessage() for r in caplog.records if r.name == "r2ad2.support.progress"]
    assert [line.split(":")[0] for line in lines] == [
        "autoencoder",
        "retraining",
        "gradients",
        "alarm network",
    ]
    assert "2 of 2 epochs" in lines[0]
    assert "stopped early" in lines[3]
