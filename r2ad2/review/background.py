"""Learns in a background thread and says how far it is."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from r2ad2.review.session import ReviewSession
from r2ad2.support.messages import reason_of
from r2ad2.support.progress import Phase, phase_listener

logger = logging.getLogger(__name__)


class _StoppedError(Exception):
    """Ends the learning."""


class LearningJob:
    """One learning at a time.

    Args:
        session: what learns.
    """

    def __init__(self, session: ReviewSession):
        self._session = session
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._phase = ""
        self._error = ""
        self._start = 0.0
        self._n_phases = 0
        self._expected = 0
        self._n_done = 0
        self._stops = False

    def start(self) -> bool:
        """Begin to learn; return whether it began, which it does not while it is learning."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return False
            self._phase, self._error, self._start = "preparing", "", time.monotonic()
            self._n_phases = 0
            self._thread = threading.Thread(target=self._run, daemon=True, name="review-learning")
            self._thread.start()
            return True

    def status(self) -> dict[str, Any]:
        """Return running, phase, done (share in [0, 1] or None), seconds, error and n_done."""
        running = self._thread is not None and self._thread.is_alive()
        share = min(self._n_phases / self._expected, 1) if self._expected else None
        return {
            "running": running,
            "phase": self._phase,
            "done": share if running else None,
            "seconds": round(time.monotonic() - self._start, 1) if running else 0,
            "error": self._error,
            "n_done": self._n_done,
        }

    def stop(self) -> None:
        """Have learning end at its next report of progress; labels and model stay as they are."""
        self._stops = True

    def wait(self, timeout: float | None = None) -> None:
        """Wait until learning ends."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        phase_listener.set(self._note)  # holds for this thread only
        try:
            self._session.learn()
        except _StoppedError:
            self._error = "stopped"
        except Exception as error:  # whatever it is, the page must show it
            if not isinstance(error, (ValueError, OSError, RuntimeError)):
                logger.exception("learning failed")
            self._error = reason_of(error)
        else:
            self._expected = self._n_phases
            self._n_done += 1

    def _note(self, phase: Phase) -> None:
        if self._stops:
            raise _StoppedError
        self._phase = phase.name
        if phase.finished:
            self._n_phases += 1
