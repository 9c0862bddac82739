"""The installed command `r2ad2`: the command line, or how to install it."""

from __future__ import annotations

import sys

from r2ad2.support.extras import MissingExtraError, from_extra


def main() -> None:
    """Run the command line; exit code 2 with one line where the extra [cli] is not installed."""
    try:
        with from_extra("cli", "typer"):
            from r2ad2.cli import main as cli
    except MissingExtraError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(2)
    cli.main()
