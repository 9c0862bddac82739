"""Entry point of the installed command `r2ad2`."""

from __future__ import annotations

import sys

from r2ad2.support.extras import MissingExtraError, from_extra


def main() -> None:
    """Run the command line; without the extra [cli], say how to install it and exit with code 2."""
    try:
        with from_extra("cli", "typer"):
            from r2ad2.cli import main as cli
    except MissingExtraError as error:
        sys.stderr.write(f"Error: {error}\n")
        sys.exit(2)
    cli.main()
