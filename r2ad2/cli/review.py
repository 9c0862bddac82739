"""The command `r2ad2 review`."""

from __future__ import annotations

import signal
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from r2ad2.cli.options import (
    Anomalous,
    ModelOption,
    Normal,
    OnError,
    Quiet,
    Reading,
    TableArgument,
    reads_table,
)
from r2ad2.support.screen import import_tensorflow_quietly, make_console


@reads_table
def review(
    table: TableArgument,
    model: ModelOption,
    labels: Annotated[Path, typer.Option(help="labels file (.csv), continued if it exists")],
    train: Annotated[
        Path | None, typer.Option(help="the training table, needed to learn from the labels")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="its label column; by default as in training")
    ] = None,
    anomaly: Anomalous = None,
    normal: Normal = None,
    id_: Annotated[
        list[str] | None,
        typer.Option(
            "--id", help="column that identifies a row (repeatable); by default its values do"
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="model file that Learn writes; by default MODEL-reviewed.keras"),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="port of the page", show_default="a free one")
    ] = 0,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="whether to open the page")
    ] = True,
    *,
    reading: Reading,
    on_error: OnError = "raise",
    quiet: Quiet = False,
) -> None:
    """Review rows on a page of this machine, label them, and have the model learn from the labels.

    Open the address that is printed: it has a token that every request needs. Labels are kept as
    they are given, and the same command continues where it stopped.
    """
    import_tensorflow_quietly()
    from r2ad2.review.launch import address_file, open_review

    console = make_console()

    def show(text: str) -> None:
        if not quiet:
            console.print(text, soft_wrap=True)

    opened = open_review(
        table,
        model,
        labels,
        train=train,
        label=label or "",
        anomalous=anomaly or (),
        normal=normal or (),
        ids=id_ or (),
        output=output,
        port=port,
        reading=reading.applied_to,
        on_error=on_error,
        note=show,
    )

    def started(page: Path) -> None:
        learns = f", Learn writes {opened.output}" if train is not None else ""
        # The address is printed even with --quiet: nobody could open the page without it.
        show(f"labels in {labels}{learns}; stop with Ctrl+C")
        console.print(opened.server.url, soft_wrap=True)
        if browser:
            webbrowser.open(page.resolve().as_uri())

    # Ends like Ctrl+C, so that the file with the address is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with address_file(opened.server.url, labels.parent) as page:
        opened.server.run(lambda: started(page))
