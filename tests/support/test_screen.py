"""The screen: native messages are hidden, and lines in files are wide."""

from __future__ import annotations

import contextlib
import os

from rich.table import Table

from r2ad2.support.screen import make_console, without_native_messages


def test_native_messages_are_hidden_inside_the_block_only(capfd):
    with contextlib.suppress(KeyError), without_native_messages():
        os.write(2, b"hidden")
        raise KeyError
    os.write(2, b"shown")
    assert capfd.readouterr().err == "shown"


def test_long_names_are_not_cut_off_in_files(capsys):
    make_console().print("x" * 150)
    assert capsys.readouterr().out == "x" * 150 + "\n"


def test_brackets_and_colons_in_names_are_no_markup(capsys):
    table = Table("name", title="[/data]")
    table.add_row("[/m] [bold] :car:")
    make_console().print(table)
    make_console(stderr=True).print("[/m]: speed [km/h]")
    out, err = capsys.readouterr()
    assert "[/data]" in out
    assert "[/m] [bold] :car:" in out
    assert err == "[/m]: speed [km/h]\n"


def test_a_quiet_console_shows_nothing(capsys):
    make_console(quiet=True).print("x")
    assert capsys.readouterr().out == ""
