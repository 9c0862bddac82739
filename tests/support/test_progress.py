"""Progress: what is shown of each phase, on terminals and elsewhere."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
from rich.console import Console

from baselines import AEDetector
from r2ad2 import R2AD2Detector
from r2ad2.support import progress
from r2ad2.support.progress import TrainingProgress
from tests.helpers.detectors import SMALL


@pytest.fixture
def screen(monkeypatch):
    """Return a function that captures what progress shows, on a terminal or not."""
    stream = io.StringIO()

    def replace(terminal):
        monkeypatch.setattr(
            progress,
            "make_console",
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
    for part in ("2/2", "1/1", "36/36", "8/8", "loss", "remaining"):
        assert part in shown


def test_nothing_is_shown_by_default(screen, rng):
    stream = screen(True)
    detector = AEDetector(epochs=2, random_state=0).fit(rng.random((40, 3)))
    detector.explain(rng.random((2, 3)))
    assert stream.getvalue() == ""


def test_about_ten_lines_per_phase_without_a_terminal(screen):
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


def test_the_remaining_time_follows_from_the_work_of_this_run(screen, monkeypatch):
    stream, clock = screen(False), [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with TrainingProgress(1) as shown:
        phase = shown.steps("work", 10)
        phase.start(4)  # done by an earlier run
        clock[0] += 6
        phase.update(6)
    assert stream.getvalue() == "work: sample 6/10, 6 s, about 12 s remaining\n"


@pytest.mark.parametrize("terminal", [False, True])
def test_a_phase_that_stops_early_is_shown_as_finished(screen, terminal):
    stream = screen(terminal)
    with TrainingProgress(1) as shown:
        phase = shown.steps("work", 50, unit="epoch")
        phase.start()
        phase.update(7, loss=0.5)
        phase.stop("loss 0.5, stopped early")
    last = stream.getvalue()[stream.getvalue().rindex("work") :]
    assert "epoch 7/7" in last
    assert "loss 0.5, stopped early" in last


def test_phases_are_logged(screen, rng, caplog):
    stream = screen(False)
    settings = SMALL | {"epochs": 50, "learning_rate": 0.05, "early_stopping": True}
    with caplog.at_level(logging.INFO, logger="r2ad2"):
        R2AD2Detector(**settings, n_iter_no_change=1, verbose=1).fit(
            np.tile(rng.random((40, 1)), 3)
        )
    lines = [r.getMessage() for r in caplog.records if r.name == "r2ad2.support.progress"]
    assert [line.split(":")[0] for line in lines] == [
        "autoencoder",
        "retraining",
        "training gradients",
        "alarm network",
    ]
    assert "2 of 2 epochs" in lines[0]
    assert "stopped early" in lines[3]
    assert "stopped early" in stream.getvalue()


def test_names_in_brackets_are_shown_as_they_are(capfd):
    with TrainingProgress(1) as shown:
        shown.steps("[/m]", 1).update(1)
    assert capfd.readouterr().err.startswith("[/m]: sample 1/1")
