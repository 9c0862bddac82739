"""The training loop: when it writes checkpoints, and what it shows of a resumed training."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from r2ad2.support.progress import TrainingProgress
from r2ad2.training import loop
from r2ad2.training.batches import shuffled_batches
from r2ad2.training.loop import DivergenceError, Training

X = np.linspace(0, 1, 8, dtype=np.float32)[:, np.newaxis]


def linear_model(**settings):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(**settings), "mse")
    return model


def batches(first_epoch):
    return shuffled_batches([X, X], 8, seed=0, first_epoch=first_epoch)


class SlowDisk:
    """A checkpoint whose writing takes three seconds of a clock that only it and epochs move."""

    def __init__(self, clock):
        self.clock = clock
        self.epochs = []

    def read(self, phase):
        return None

    def write(self, phase, state):
        self.clock[0] += 3
        self.epochs.append((state.epoch, state.finished))


def test_checkpoints_take_three_percent_of_the_time(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])
    disk = SlowDisk(clock)
    tick = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: clock.__setitem__(0, clock[0] + 10)
    )
    history = Training(TrainingProgress(0), disk).fit(
        linear_model(), batches, [("work", 25)], callbacks=[tick]
    )
    # After one that took 3 seconds, the next is due 100 seconds later.
    assert disk.epochs == [(1, False), (11, False), (21, False), (25, True)]
    assert history["epoch"].tolist() == list(range(1, 26))


def test_the_phase_that_diverged_is_named_with_the_learning_rate():
    training = Training(TrainingProgress(0))
    with pytest.raises(DivergenceError, match=r"epoch \d+, phase 'second'.*learning_rate \(1e\+3"):
        training.fit(linear_model(learning_rate=1e30), batches, [("first", 1), ("second", 9)])
