"""How much memory this process uses."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from pathlib import Path


def peak_memory() -> int | None:
    """Largest resident memory of this process so far, in bytes; None if unknown."""
    status = Path("/proc/self/status")
    if status.exists():  # resource's figure would include the parent's memory at the fork
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        return int(found[1]) * 1024 if found else None
    try:
        import resource
    except ImportError:
        return None
    factor = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * factor


def reset_peak_memory() -> None:
    """Make `peak_memory` start again from now, where the system supports it (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def resident_memory() -> int:
    """Resident memory of this process now, in bytes.

    Raises:
        OSError: if the system has no /proc.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
