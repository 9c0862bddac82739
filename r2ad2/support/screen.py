"""Console output: wide tables in files and pipes, no start-up messages of TensorFlow."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

from rich.console import Console

_WIDTH = 160


@contextlib.contextmanager
def without_native_messages() -> Iterator[None]:
    """Hide what native code writes to standard error inside the block."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def import_tensorflow_quietly() -> None:
    """Import TensorFlow and start its devices, showing nothing but errors."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with without_native_messages():
        import tensorflow as tf

        tf.config.list_logical_devices()  # devices print messages when first used
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Make a console that shows texts as they are.

    Names of columns and files may hold brackets and colons, which Rich would take for markup or
    pictures: "speed [km/h]". Lines may be long in files and pipes, so that names are not cut off
    at 80 characters.

    Args:
        stderr: whether to write to the current standard error instead of standard output.
        quiet: whether to show nothing.
    """

    def console(width: int | None) -> Console:
        return Console(
            stderr=stderr, quiet=quiet, highlight=False, markup=False, emoji=False, width=width
        )

    made = console(None)
    return made if made.is_terminal or made.is_jupyter else console(_WIDTH)
