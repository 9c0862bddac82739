"""Memory figures follow what this process allocates."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from r2ad2.support.memory import peak_memory, reset_peak_memory, resident_memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
MEGABYTE = 2**20


def test_the_peak_remembers_freed_memory_until_it_is_reset():
    reset_peak_memory()
    before = resident_memory()
    block = np.ones(200 * MEGABYTE, np.uint8)
    assert resident_memory() - before > 190 * MEGABYTE
    del block
    assert resident_memory() - before < 100 * MEGABYTE
    assert peak_memory() - before > 190 * MEGABYTE
    reset_peak_memory()
    assert peak_memory() - before < 100 * MEGABYTE
