"""Progress of a training over its phases: bars on a terminal or in a notebook, else plain lines."""

from __future__ import annotations

import time
from types import TracebackType

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class TrainingProgress:
    """Shows how far each phase of a training has come; used as a context manager.

    Args:
        verbose: 0 shows nothing, 1 bars on a terminal or in a notebook and lines elsewhere.
    """

    def __init__(self, verbose: int):
        self._console = Console(stderr=True, quiet=not verbose)
        self._bars: Progress | None = None
        if self._console.is_terminal or self._console.is_jupyter:
            self._bars = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("epoch {task.completed:.0f}/{task.total:.0f}"),
                TimeElapsedColumn(),
                TextColumn("remaining"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[loss]}"),
                console=self._console,
            )

    def __enter__(self) -> TrainingProgress:
        """Start the display."""
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the display."""
        if self._bars is not None:
            self._bars.stop()

    def phase(self, name: str, n_epochs: int) -> keras.callbacks.Callback:
        """Make the Keras callback that reports one phase of `n_epochs` epochs."""
        if self._bars is not None:
            return _BarCallback(self._bars, name, n_epochs)
        return _LineCallback(self._console, name, n_epochs)


class _BarCallback(keras.callbacks.Callback):
    def __init__(self, bars: Progress, name: str, n_epochs: int):
        super().__init__()
        self._bars = bars
        self._task = bars.add_task(name, total=n_epochs, loss="")

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        loss = f"loss {logs['loss']:.4f}" if logs and "loss" in logs else ""
        self._bars.update(self._task, completed=epoch + 1, loss=loss)


class _LineCallback(keras.callbacks.Callback):
    """Writes about ten lines per phase."""

    def __init__(self, console: Console, name: str, n_epochs: int):
        super().__init__()
        self._console = console
        self._name = name
        self._n_epochs = n_epochs
        self._start = time.monotonic()

    def on_train_begin(self, logs: dict | None = None) -> None:
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        done = epoch + 1
        if done % max(1, self._n_epochs // 10) and done != self._n_epochs:
            return
        seconds = time.monotonic() - self._start
        remaining = seconds / done * (self._n_epochs - done)
        self._console.print(
            f"{self._name}: epoch {done}/{self._n_epochs}, loss {(logs or {}).get('loss', 0):.4f}, "
            f"{seconds:.0f} s, about {remaining:.0f} s remaining",
            highlight=False,
        )
