"""The command line, run in this process."""

from __future__ import annotations

import sys

import pytest

from r2ad2.cli import main as cli

SET = ["--set", "n_trees=10", "--set", "start_epoch=2", "--set", "snapshot_interval=1"]
SET += ["--set", "batch_size=32"]


def run(*arguments):
    """Run a command; return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["r2ad2", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    return stopped.value.code
