"""Skips the tests of the page where the packages of the extra [review] are not installed."""

from __future__ import annotations

import importlib.util

import pytest

_MISSING = [n for n in ("starlette", "uvicorn", "jinja2") if importlib.util.find_spec(n) is None]


@pytest.fixture(scope="session")
def review_extra():
    if _MISSING:
        pytest.skip(f"{_MISSING[0]} is not installed: pip install 'r2ad2[review]'")
