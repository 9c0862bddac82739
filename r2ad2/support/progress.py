"""Progress of long-running phases: bars on a terminal or in a notebook, plain lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from r2ad2.support.screen import make_console

logger = logging.getLogger(__name__)

# Called with a phase whenever it reports progress, in the thread that set it.
phase_listener: ContextVar[Callable[[Phase], None] | None] = ContextVar(
    "phase_listener", default=None
)
_LINES = 10  # about this many per phase where there are no bars


class TrainingProgress:
    """Shows the progress of each phase of a training; used as a context manager.

    Every finished phase is also logged, at level INFO.

    Args:
        verbose: 0 shows nothing, 1 bars on a terminal or in a notebook and lines elsewhere.
    """

    def __init__(self, verbose: int):
        self._console = make_console(stderr=True, quiet=not verbose)
        self._bars: Progress | None = None
        if self._console.is_terminal or self._console.is_jupyter:
            self._bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[unit]} {task.completed:,.0f}/{task.total:,.0f}"),
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

    def steps(self, name: str, total: int, unit: str = "sample") -> Phase:
        """Begin a phase of `total` units; report with `Phase.update` how many are done."""
        display = _Bar(self._bars, name, total, unit) if self._bars else _Lines(self._console)
        return Phase(name, total, unit, display)

    def note(self, text: str) -> None:
        """Show a line of text, above the bars if there are any."""
        self._console.print(text, soft_wrap=True)

    def phase(self, name: str, n_epochs: int, first_epoch: int = 0) -> keras.callbacks.Callback:
        """Make the Keras callback that reports `n_epochs` epochs of a training as one phase.

        Args:
            name: name of the phase.
            n_epochs: its number of epochs.
            first_epoch: number of its first epoch, if the training has earlier phases.
        """
        return _EpochCallback(self.steps(name, n_epochs, unit="epoch"), first_epoch)


class _Bar:
    def __init__(self, bars: Progress, name: str, total: int, unit: str):
        self._bars = bars
        self._task = bars.add_task(name, total=total, unit=unit, loss="", start=False)
        self._started = False

    def show(self, phase: Phase, loss: str) -> None:
        if not self._started:
            self._bars.start_task(self._task)
            self._started = True
        self._bars.update(self._task, completed=phase.done, total=phase.total, loss=loss)


class _Lines:
    def __init__(self, console: Console):
        self._console = console

    def show(self, phase: Phase, loss: str) -> None:
        every = max(1, phase.total // _LINES)
        is_between = phase.done // every == phase.before // every
        if phase.done == phase.first or (is_between and not phase.finished):
            return
        remaining = phase.seconds / (phase.done - phase.first) * (phase.total - phase.done)
        self._console.print(
            f"{phase.name}: {phase.unit} {phase.done:,}/{phase.total:,}, {loss}{', ' * bool(loss)}"
            f"{phase.seconds:.0f} s, about {remaining:.0f} s remaining"
        )


class Phase:
    """One phase and its progress.

    Attributes:
        name: what the phase does.
        total: units of work.
        unit: what a unit is.
        done: finished units.
        first: units finished by an earlier run.
        before: units finished at the last report.
    """

    def __init__(self, name: str, total: int, unit: str, display: _Bar | _Lines):
        self.name = name
        self.total = total
        self.unit = unit
        self.done = self.before = self.first = 0
        self._display = display
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the phase began."""
        return time.monotonic() - self._start

    @property
    def finished(self) -> bool:
        """Whether all units are done."""
        return self.done >= self.total

    def start(self, done: int = 0) -> None:
        """Start the clock; an earlier run may have finished some units."""
        self._start = time.monotonic()
        self.done = self.before = self.first = done
        self._display.show(self, "")

    def update(self, done: int, loss: float | None = None) -> None:
        """Report the number of finished units."""
        self.before, self.done = self.done, done
        loss_text = "" if loss is None else f"loss {loss:.4f}"
        self._display.show(self, loss_text)
        if (listener := phase_listener.get()) is not None:
            listener(self)
        if self.finished:
            self.log(loss_text)

    def stop(self, loss: str) -> None:
        """Report that the phase ends before all units are done."""
        self.log(loss)
        self.before, self.total = self.done, self.done
        self._display.show(self, loss)

    def log(self, loss: str) -> None:
        """Log how long the phase took."""
        logger.info(
            "%s: %d of %d %ss in %.1f s%s",
            self.name,
            self.done,
            self.total,
            self.unit,
            self.seconds,
            f", {loss}" if loss else "",
        )


class _EpochCallback(keras.callbacks.Callback):
    def __init__(self, phase: Phase, first_epoch: int):
        super().__init__()
        self._phase = phase
        self._first = first_epoch
        self._last_loss: float | None = None
        self._started = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if epoch >= self._first and not self._started:
            self._started = True
            self._phase.start(epoch - self._first)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        done = epoch + 1 - self._first
        if 0 < done <= self._phase.total:
            self._last_loss = (logs or {}).get("loss")
            self._phase.update(done, self._last_loss)

    def on_train_end(self, logs: dict | None = None) -> None:
        if self._started and not self._phase.finished:  # stopped early
            self._phase.stop(f"loss {self._last_loss or 0:.4f}, stopped early")
