"""The commands `r2ad2 data list | check | fetch`."""

from __future__ import annotations

import json
import sys

import pytest

from r2ad2.cli import main as cli
from r2ad2.datasets import dataset_names
from r2ad2.datasets.catalogue import dataset_cards


def run(monkeypatch, capfd, *arguments):
    """Run a command; return exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["r2ad2", "data", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    captured = capfd.readouterr()
    return stopped.value.code, captured.out, captured.err


def test_list_shows_all_sets_and_which_are_available(tmp_path, monkeypatch, capfd):
    (tmp_path / "url").mkdir()
    (tmp_path / "url" / "All_Infogain.csv").write_text("x")
    code, out, _ = run(monkeypatch, capfd, "list", "--data-dir", tmp_path)
    assert code == 0
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if line.startswith("│")}
    assert set(rows) == set(dataset_names())
    assert "sample" in rows["url"]
    assert "missing" in rows["mnist"]
    assert "embedded" in rows["digits"]


def test_list_gives_all_fields_of_the_cards_as_json(tmp_path, monkeypatch, capfd):
    (tmp_path / "mammography").mkdir()
    (tmp_path / "mammography" / "mammography.npz").write_bytes(b"x")
    code, out, _ = run(monkeypatch, capfd, "list", "--json", "--data-dir", tmp_path)
    assert code == 0
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert list(entries) == dataset_names()
    for name, entry in entries.items():
        for field, value in vars(dataset_cards()[name]).items():
            assert entry[field] == json.loads(json.dumps(value))
    states = {name: (entry["state"], entry["is_available"]) for name, entry in entries.items()}
    assert states["mammography"] == ("complete", True)
    assert states["digits"] == ("embedded", True)
    assert states["doh"] == ("missing", False)


def test_check_names_what_is_missing_and_where_to_get_it(tmp_path, monkeypatch, capfd):
    code, out, err = run(monkeypatch, capfd, "check", "doh", "--data-dir", tmp_path)
    assert code == 2
    assert err == "Error: files are missing or not as published: doh (l2-benign.csv and 1 more)\n"
    assert "https://www.unb.ca/cic/datasets/dohbrw-2020.html" in out
    code, out, _ = run(monkeypatch, capfd, "check", "--data-dir", tmp_path)
    assert code == 0  # no set was named
    (tmp_path / "creditcard").mkdir()
    (tmp_path / "creditcard" / "creditcard.csv").write_text("other")
    code, out, err = run(monkeypatch, capfd, "check", "--data-dir", tmp_path)
    assert code == 2
    assert "creditcard (creditcard.csv)" in err


def test_check_counts_rows_and_classes(monkeypatch, capfd):
    code, out, _ = run(monkeypatch, capfd, "check", "breast_cancer", "--read")
    assert code == 0
    cells = [[c.strip() for c in line.split("│")[1:-1]] for line in out.splitlines() if "│" in line]
    assert ["breast_cancer", "all", "569", "569", "whole"] in cells
    assert ["", "malignant", "212", "212", ""] in cells


def test_check_names_sets_that_cannot_be_read(tmp_path, monkeypatch, capfd):
    (tmp_path / "url").mkdir()
    (tmp_path / "url" / "All.csv").write_text("a,URL_Type_obf_Type\n1,unheard-of\n")
    code, out, err = run(monkeypatch, capfd, "check", "--read", "--data-dir", tmp_path)
    assert code == 2
    assert "'unheard-of'" in out
    assert err == "Error: files are missing or not as published: url (cannot be read)\n"


def test_check_says_that_a_sample_is_not_the_whole(real_data, monkeypatch, capfd):
    code, out, _ = run(monkeypatch, capfd, "check", "url", "--read", "--data-dir", real_data)
    assert code == 0
    assert "only 12 of 79 features" in out
    assert "not the whole data set" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "mnists"], "Error: unknown data set 'mnists': choose one of breast_cancer"),
        (["fetch", "doh"], "Error: doh cannot be downloaded without registration"),
    ],
)
def test_errors_are_one_line_and_exit_code_two(monkeypatch, capfd, tmp_path, arguments, message):
    code, _, err = run(monkeypatch, capfd, *arguments, "--data-dir", tmp_path)
    assert code == 2
    assert err.startswith(message)
    assert err.count("\n") == 1
