"""Optional parts of the package: which packages they need, and how to install these."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class MissingExtraError(ImportError):
    """A part of the package was used without the packages it needs."""


@contextlib.contextmanager
def from_extra(extra: str, *modules: str) -> Iterator[None]:
    """Name the extra to install if an import inside the block fails.

    Args:
        extra: the extra's name in setup.cfg.
        *modules: the modules that it installs, by the names they are imported by.

    Raises:
        MissingExtraError: instead of ModuleNotFoundError for one of these modules.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in modules:
            raise
        raise MissingExtraError(
            f"{missing} is not installed: pip install 'r2ad2[{extra}]'", name=missing
        ) from error
