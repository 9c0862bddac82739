"""The command line, run in this process."""

from __future__ import annotations

import sys

import pytest

from r2ad2.cli import main as cli

SET = ["--set", "alarm_units=(16,8,4)", "--set", "epochs=8", "--set", "start_epoch=2"]
SET += ["--set", "snapshot_interval=1", "--set", "batch_size=32"]


def run(*arguments):
    """Run a command; return its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["r2ad2", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
    return stopped.value.code
