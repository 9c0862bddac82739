"""The training loop: shows progress, resumes after a crash, stops when the training diverges."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from r2ad2.support.progress import TrainingProgress
from r2ad2.training.checkpoints import Checkpoint, PhaseState

logger = logging.getLogger(__name__)

# Writing checkpoints may take up to about this share of the training time.
_SHARE_OF_TIME = 0.03

Batches = Callable[[int], tuple[tf.data.Dataset, int]]


@runtime_checkable
class Resumable(Protocol):
    """A Keras callback whose state belongs to a checkpoint."""

    def set_model(self, model: keras.Model) -> None:
        """Receive the model to be trained."""

    def state(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return the state as plain JSON values and arrays."""

    def resume(self, values: dict[str, Any], arrays: list[np.ndarray]) -> None:
        """Restore what `state` returned, after training has begun."""


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras' early stopping, able to resume from a checkpoint."""

    _VALUES = ("wait", "best", "best_epoch", "stopped_epoch")

    def state(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return the best epoch and its weights."""
        return {name: getattr(self, name) for name in self._VALUES}, self.best_weights or []

    def resume(self, values: dict[str, Any], arrays: list[np.ndarray]) -> None:
        """Restore what `state` returned."""
        for name in self._VALUES:
            setattr(self, name, values[name])
        self.best_weights = arrays or None

    def on_train_end(self, logs: dict | None = None) -> None:
        """Restore the best weights and drop the copy, which is no longer needed."""
        super().on_train_end(logs)
        self.best_weights = None


class DivergenceError(ValueError):
    """Training diverged: losses, weights or gradients are no longer finite."""


class Training:
    """One training run of a detector, phase by phase.

    Args:
        progress: shows how far the training is.
        checkpoint: where its state is kept; None keeps nothing.
        groups: positions of each column or patch in a flattened sample, by name, for detectors that
            treat these as units; see `InputEncoder.feature_groups`.

    Attributes:
        progress: as given.
        groups: as given; empty if unknown.
    """

    def __init__(
        self,
        progress: TrainingProgress,
        checkpoint: Checkpoint | None = None,
        groups: Mapping[str, np.ndarray] | None = None,
    ):
        self.progress = progress
        self.groups = dict(groups or {})
        self._checkpoint = checkpoint

    def arrays(
        self, phase: str, compute: Callable[[], dict[str, np.ndarray]]
    ) -> dict[str, np.ndarray]:
        """Compute the arrays of a phase, or read them from the checkpoint if it has finished.

        Args:
            phase: name of the phase, which is not that of a training of networks.
            compute: returns arrays by name; it must not depend on anything random that is not
                fixed before.

        Raises:
            OSError: if the checkpoint cannot be written.
            ValueError: if it cannot be read.
        """
        found = self._checkpoint and self._checkpoint.read(phase)
        if found:
            self.progress.note(f"{phase}: finished earlier")
            return {name: arrays[0] for name, arrays in found.arrays.items()}
        computed = compute()
        if self._checkpoint is not None:
            arrays = {name: [array] for name, array in computed.items()}
            self._checkpoint.write(phase, PhaseState(0, True, {}, arrays=arrays))
        return computed

    def fit(
        self,
        model: keras.Model,
        batches: Batches,
        phases: Sequence[tuple[str, int]],
        *,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        variables: Sequence[keras.Variable] = (),
        **settings: Any,
    ) -> pd.DataFrame:
        """Train a compiled model, resuming from the checkpoint if there is one.

        With a checkpoint the result is the same no matter when training was interrupted, provided
        that the batches of an epoch depend only on its number.

        Args:
            model: trained in place; its optimiser trains ``model.trainable_variables``, unless it
                is already built.
            batches: takes the number of the first epoch (from 0) and returns an endless pipeline
                that begins with it, and the number of batches per epoch.
            phases: name and number of epochs of each part of this training, for display and error
                messages; the first name is that of the checkpoint.
            callbacks: Keras callbacks; the state of those that are `Resumable` is kept.
            variables: what training changes in addition to the model's variables and optimiser.
            **settings: further arguments of `keras.Model.fit`.

        Returns:
            One row per epoch: its number (from 1), then losses and metrics.

        Raises:
            DivergenceError: if a loss or weight is not finite.
            OSError: if a checkpoint cannot be written.
            ValueError: if one cannot be read.
        """
        recorder = _Recorder(self._checkpoint, phases, callbacks, variables)
        recorder.set_model(model)
        recorder.load_checkpoint()
        if recorder.epoch:
            message = (
                f"{recorder.phase_of(recorder.epoch - 1)}: resumes after epoch {recorder.epoch}"
            )
            logger.info(message)
            self.progress.note(message)
        if not recorder.finished:
            # Variables created during the first step would cause it to be traced twice.
            if not model.optimizer.built:
                model.optimizer.build(model.trainable_variables)
            pipeline, steps = batches(recorder.epoch)
            model.fit(
                pipeline,
                initial_epoch=recorder.epoch,
                epochs=sum(n_epochs for _, n_epochs in phases),
                steps_per_epoch=steps,
                shuffle=False,  # the pipeline shuffles
                verbose=0,
                callbacks=[
                    _Guard(recorder),
                    *callbacks,
                    *self._displays(phases, recorder.epoch),
                    recorder,
                ],
                **settings,
            )
            recorder.finish()
        history = pd.DataFrame(recorder.history)
        history.insert(0, "epoch", np.arange(1, len(history) + 1))
        return history

    def _displays(
        self, phases: Sequence[tuple[str, int]], epoch: int
    ) -> list[keras.callbacks.Callback]:
        """Make a display for each phase that is unfinished at the beginning of an epoch."""
        displays, first = [], 0
        for name, n_epochs in phases:
            if epoch < first + n_epochs:
                displays.append(self.progress.phase(name, n_epochs, first))
            first += n_epochs
        return displays


class _Recorder(keras.callbacks.Callback):
    """Records the losses of a training, and writes and reads its checkpoints.

    It is the last callback, so that it saves the state the others have at the end of an epoch.
    """

    def __init__(
        self,
        checkpoint: Checkpoint | None,
        phases: Sequence[tuple[str, int]],
        callbacks: Sequence[keras.callbacks.Callback],
        variables: Sequence[keras.Variable],
    ):
        super().__init__()
        self.epoch = 0
        self.finished = False
        self.history: dict[str, list[float]] = {}
        self._checkpoint = checkpoint
        self._phases = phases
        self._resumables = [c for c in callbacks if isinstance(c, Resumable)]
        self._variables = variables
        self._found: PhaseState | None = None
        self._pause = 0.0
        self._written = -math.inf

    def phase_of(self, epoch: int) -> str:
        """Name the phase of an epoch."""
        ends = np.cumsum([n_epochs for _, n_epochs in self._phases])
        return self._phases[int(np.searchsorted(ends, epoch, side="right"))][0]

    # ---- resuming -------------------------------------------------------------------------

    def load_checkpoint(self) -> None:
        """Read the checkpoint, if there is one; restore a finished training at once."""
        found = self._checkpoint and self._checkpoint.read(self._phases[0][0])
        if not found:
            return
        self._found = found
        self.epoch, self.finished, self.history = found.epoch, found.finished, found.history
        if found.finished:
            self._restore(found)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Return to the state of the checkpoint, once the other callbacks have begun."""
        if self._found is not None:
            self._restore(self._found)
            self._found = None

    def _restore(self, found: PhaseState) -> None:
        for name, variables in self._kept_variables(found.finished).items():
            for variable, value in zip(variables, found.arrays[name], strict=True):
                dtype = tf.as_dtype(variable.dtype).as_numpy_dtype
                # NumPy's files have no bfloat16.
                variable.assign(value.view(dtype) if value.dtype.kind == "V" else value)
        for i, callback in enumerate(self._resumables):
            callback.set_model(self.model)
            callback.resume(found.plain[f"callback {i}"], found.arrays[f"callback {i}"])

    # ---- writing --------------------------------------------------------------------------

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Record the losses; write a checkpoint unless the last one is recent."""
        self.epoch = epoch + 1
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        is_due = time.monotonic() >= self._written + self._pause
        # If training stops here, `finish` writes the checkpoint.
        if is_due and not self.model.stop_training:
            self._write()

    def finish(self) -> None:
        """Check the trained weights and save them."""
        self.finished = True
        self._require_finite()
        self._write()

    def _write(self) -> None:
        if self._checkpoint is None:
            return
        start = time.monotonic()
        self._require_finite()
        state = PhaseState(self.epoch, self.finished, self.history)
        for name, variables in self._kept_variables(self.finished).items():
            state.arrays[name] = [variable.numpy() for variable in variables]
        for i, callback in enumerate(self._resumables):
            state.plain[f"callback {i}"], state.arrays[f"callback {i}"] = callback.state()
        self._checkpoint.write(self._phases[0][0], state)
        self._written = time.monotonic()
        self._pause = (self._written - start) / _SHARE_OF_TIME

    def _kept_variables(self, finished: bool) -> dict[str, Sequence[keras.Variable]]:
        """List the variables to save; once training has finished the optimiser is not needed."""
        if finished:
            return {"model": self.model.variables}
        return {
            "model": self.model.variables,
            "optimizer": self.model.optimizer.variables,
            "other": self._variables,
        }

    # ---- divergence -----------------------------------------------------------------------

    def _require_finite(self) -> None:
        for weight in self.model.weights:
            value = tf.convert_to_tensor(weight)
            if value.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(value)):
                self.diverged(self.epoch - 1, f"weight {weight.path} is not finite")

    def diverged(self, epoch: int, what: str) -> None:
        """Raise the error for a diverged training."""
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        raise DivergenceError(
            f"the training diverged in epoch {epoch + 1}, phase {self.phase_of(epoch)!r}: {what}. "
            f"Lower learning_rate ({rate:g}), and look for extreme values among features and "
            "settings and, in an architecture of your own, for unsuitable layers and weights"
        )


class _Guard(keras.callbacks.Callback):
    """Stops training when a loss is not finite, before any other callback sees it."""

    def __init__(self, recorder: _Recorder):
        super().__init__()
        self._recorder = recorder

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        for name, value in (logs or {}).items():
            if not math.isfinite(value):
                self._recorder.diverged(epoch, f"{name} is {value}")
