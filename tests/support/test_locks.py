"""Locked folders: one run at a time, and none after a run has ended."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys

import pytest

from r2ad2.support import locks
from r2ad2.support.locks import LockedFolder


def test_a_folder_is_locked_until_it_is_closed(tmp_path):
    folder = tmp_path / "new"
    with contextlib.closing(LockedFolder(folder)), pytest.raises(BlockingIOError):
        LockedFolder(folder)
    LockedFolder(folder).close()


def test_a_killed_run_leaves_no_lock(tmp_path):
    code = (
        "import os, pathlib; from r2ad2.support.locks import LockedFolder; "
        f"lock = LockedFolder(pathlib.Path({str(tmp_path)!r})); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert (tmp_path / locks.LOCK_NAME).exists()
    LockedFolder(tmp_path).close()


def test_a_folder_that_another_run_removes_meanwhile_is_made_again(tmp_path, monkeypatch):
    folder, lock, n = tmp_path / "new", locks._lock, []

    def removed(file):
        n.append(file)
        if len(n) == 1:
            shutil.rmtree(folder)
        lock(file)

    monkeypatch.setattr(locks, "_lock", removed)
    with contextlib.closing(LockedFolder(folder)), pytest.raises(BlockingIOError):
        LockedFolder(folder)
    assert len(n) == 3
    assert n[0].closed
