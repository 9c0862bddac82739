"""Monitoring and calibrating with table files: exit codes, the page, JSON, atomic replacement."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from r2ad2 import load
from r2ad2.bulk import sampled_rows
from r2ad2.bulk.calibrate import calibrate_file
from r2ad2.bulk.monitor import monitor_file
from r2ad2.tables.source import TableSource
from tests.helpers.commands import run
from tests.helpers.detectors import DistanceDetector
from tests.helpers.moving_tables import SHIFTS, payments


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a model and tables: fresh rows, and rows of which a column has moved."""
    folder = tmp_path_factory.mktemp("monitor")
    detector = DistanceDetector(false_positive_rate=0.05, random_state=0).fit(payments(0, 2000))
    source = TableSource("state", anomalous=("fraud",), drop=("id",))
    detector.notes_ = {"source": source.to_dict()}
    detector.save(folder / "model.keras")
    fresh = payments(1, 1000).assign(state="fine", id=range(1000))
    fresh.to_csv(folder / "fresh.csv", index=False)
    moved = SHIFTS["new category"][1](fresh)
    moved["shop"] = moved["shop"].replace("kiosk", "<script>alert(1)</script>")
    moved.to_csv(folder / "moved.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def model(files):
    return ["--model", files / "model.keras"]


def test_unmoved_data_end_with_exit_code_0(files, model, capsys):
    assert run("monitor", files / "fresh.csv", *model) == 0
    assert "as in training" in capsys.readouterr().out
    assert run("monitor", files / "fresh.csv", *model, "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_moved_data_end_with_exit_code_3_and_name_the_column(files, model, capsys):
    assert run("monitor", files / "moved.csv", *model) == 3
    output = capsys.readouterr().out
    assert "the data has moved since training" in output
    assert "shop" in output
    assert "<script>" in output  # brackets are not markup


def test_rows_that_all_have_missing_values_are_tested_but_not_scored(model, tmp_path, capsys):
    payments(1, 300).assign(amount=np.nan).to_csv(tmp_path / "empty.csv", index=False)
    assert run("monitor", tmp_path / "empty.csv", *model) == 3
    output = capsys.readouterr().out.replace("\n", " ")
    assert "none of 300 rows is without missing values" in output
    assert "nan" not in output


def test_a_page_that_cannot_be_written_is_named_before_the_work(files, model, capsys):
    page = files / "moved.csv" / "report.html"
    assert run("monitor", files / "fresh.csv", *model, "--output", page) == 2
    assert "it is a file, choose another folder" in capsys.readouterr().err.replace("\n", " ")


def test_json_is_for_machines(files, model, capsys):
    assert run("monitor", files / "moved.csv", *model, "--json") == 3
    report = json.loads(capsys.readouterr().out)
    assert report["drifted"] is True
    assert [row["name"] for row in report["columns"] if row["drifted"]] == ["shop"]
    assert report["expected_rate"] == 0.05


def test_the_page_has_findings_and_pictures_and_no_active_content(files, model):
    page = files / "pages" / "report.html"
    assert run("monitor", files / "moved.csv", *model, "--output", page, "--quiet") == 3
    text = page.read_text("utf-8")
    assert text.count("<svg") == 3
    assert "the data has moved since training" in text
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"https?://|src=|href=", text)
    order = re.findall(r'<th scope="row">(\w+)</th>\s*<td>', text)
    assert order[0] == "shop"


def test_another_ending_than_html_is_refused_before_the_work(files, model, capsys):
    assert run("monitor", files / "fresh.csv", *model, "--output", files / "report.pdf") == 2
    assert "must end in .html" in capsys.readouterr().err


def test_a_table_that_does_not_fit_is_an_error_not_a_shift(files, model, tmp_path, capsys):
    pd.read_csv(files / "fresh.csv").drop(columns="age").to_csv(tmp_path / "t.csv", index=False)
    assert run("monitor", tmp_path / "t.csv", *model) == 2
    assert "age" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["monitor", "calibrate"])
def test_a_file_of_malformed_rows_only_is_named(files, model, tmp_path, capsys, command):
    pd.read_csv(files / "fresh.csv").assign(age="old").to_csv(tmp_path / "t.csv", index=False)
    output = ["--output", tmp_path / "new.keras"] if command == "calibrate" else []
    assert run(command, tmp_path / "t.csv", *model, *output, "--on-error", "skip") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"Error: '{tmp_path / 't.csv'}' holds no well-formed rows"


@pytest.mark.parametrize(
    ("command", "work"),
    [
        (["monitor"], "reading"),
        (["calibrate", "--output", "new.keras"], "reading"),
        (["evaluate", "--label", "state"], "scoring"),
        (["explain", "--output", "why.csv"], "explaining"),
        (["explain", "--output", "why.csv", "--top", "3"], "scoring"),
    ],
)
def test_progress_is_shown_unless_it_should_be_quiet(
    files, model, tmp_path, monkeypatch, capsys, command, work
):
    monkeypatch.chdir(tmp_path)
    name, *options = command
    rows = pd.read_csv(files / "fresh.csv", nrows=100)
    rows.assign(state=["fraud"] * 3 + ["fine"] * 97).to_csv("t.csv", index=False)
    assert run(name, "t.csv", *model, *options) == 0
    n_bytes = (tmp_path / "t.csv").stat().st_size
    assert f"{work}: byte {n_bytes:,}/{n_bytes:,}" in capsys.readouterr().err
    assert run(name, "t.csv", *model, *options, "--quiet") == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("command", "expected"), [("monitor", 0), ("calibrate", 0)])
def test_rows_set_aside_are_counted(files, model, tmp_path, capsys, command, expected):
    table, output = tmp_path / "t.csv", tmp_path / "c.keras"
    header, *lines = (files / "fresh.csv").read_text().splitlines()
    table.write_text("\n".join([header, f"{lines[0]},1", *lines[1:]]) + "\n")
    into = ["--output", output] if command == "calibrate" else []
    assert run(command, table, *model, *into, "--on-error", "skip") == expected
    assert "set 1 malformed row aside" in capsys.readouterr().out
    if command == "monitor":
        assert run(command, table, *model, "--on-error", "skip", "--json") == expected
        printed = capsys.readouterr()
        json.loads(printed.out)
        assert "set 1 malformed row aside" in printed.err


def test_of_a_long_file_a_random_sample_is_read(files, monkeypatch):
    detector = load(files / "model.keras")
    monkeypatch.setattr("r2ad2.bulk.monitor.MAX_ROWS", 300)
    report = monitor_file(detector, files / "fresh.csv")
    assert report.n_rows == 300
    rows, n_rows = sampled_rows.sampled_features(detector, files / "fresh.csv", 300)
    assert n_rows == 1000
    positions = rows.index.to_numpy()
    assert (np.diff(positions) > 0).all()
    assert 400 < positions.mean() < 600


def test_calibrate_replaces_the_model_file_and_keeps_the_promise(files, tmp_path, capsys):
    model = shutil.copy(files / "model.keras", tmp_path / "model.keras")
    _, move = SHIFTS["scaled"]
    move(payments(3, 1500)).assign(state=["fraud"] * 300 + ["fine"] * 1200).to_csv(
        tmp_path / "recent.csv", index=False
    )
    before = load(model)
    assert run("calibrate", tmp_path / "recent.csv", "--model", model) == 0
    assert "calibrated with 1,200 rows" in capsys.readouterr().out
    after = load(model)
    fresh = move(payments(4, 4000))
    assert after.pipeline_.calibration.n_samples == 1200
    assert after.predict(fresh).mean() < 0.07
    assert after.threshold_ != before.threshold_
    assert after.notes_ == before.notes_
    assert not after.monitor(fresh).drifted
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_calibrate_can_promise_another_rate_in_another_file(files, tmp_path):
    output = tmp_path / "strict.keras"
    rate = ["--false-positive-rate", "0.01"]
    model = ["--model", files / "model.keras"]
    assert run("calibrate", files / "fresh.csv", *model, "--output", output, *rate, "--quiet") == 0
    assert load(output).false_positive_rate == 0.01
    assert load(output).threshold_ > load(files / "model.keras").threshold_


def test_a_failed_calibration_leaves_the_model_file_as_it_was(files, tmp_path):
    detector = load(files / "model.keras")
    before = (files / "model.keras").read_bytes()
    pd.read_csv(files / "fresh.csv").head(5).to_csv(tmp_path / "few.csv", index=False)
    with pytest.raises(ValueError, match="needs at least 19 held-back normal samples"):
        calibrate_file(detector, tmp_path / "few.csv", files / "model.keras")
    assert (files / "model.keras").read_bytes() == before
