"""A process that performs runs, one after the other: `python -m r2ad2.experiments.worker`.

It reads runs as lines of JSON from standard input, writes the row of each to the store and its key
to standard output. It exits as soon as its standard input closes: its parent has ended then, and
nobody is waiting for the results.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading

from r2ad2.support.screen import import_tensorflow_quietly


def work(folder: str, data_dir: str | None) -> None:
    """Perform the runs listed on standard input; see the module."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # so that the exit code shows it
    runs: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            runs.put(line)
        # `sys.exit` would only end this thread; nothing is lost, as rows are written atomically.
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    import_tensorflow_quietly()
    from r2ad2.experiments.perform import perform
    from r2ad2.experiments.results import ResultStore
    from r2ad2.experiments.runs import Run

    store = ResultStore(folder)
    while True:
        run = Run.from_json(runs.get())
        store.write(run, perform(run, data_dir))
        sys.stdout.write(f"{run.key}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2] or None)
