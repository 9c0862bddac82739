"""Pages filled from results."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from r2ad2.experiments import pages
from r2ad2.experiments.pages import fill
from tests.helpers.pages import markdown_table


def result(dataset, method, ap, *, seed=110, experiment="known", level=math.nan, **others):
    row = {
        "experiment": experiment,
        "dataset": dataset,
        "method": method,
        "seed": seed,
        "level": level,
        "budget": "fast",
        "max_rows": 5000.0,
        "overrides": "{}",
        "AUC": ap / 2,
        "AP": ap,
        "fit_seconds": 2.0,
        "score_seconds": 0.5,
        "n_train_normal": 5000,
        "n_known_anomalies": 100,
        "n_test_normal": 400,
        "n_test_anomalies": 100,
        "whole": True,
        "error": None,
        "traceback": None,
    }
    return row | others


@pytest.fixture
def rows():
    return pd.DataFrame(
        [
            result("mnist", "GradientForest", 0.98),
            result("mnist", "GradientForest", 0.96, seed=210),
            result("mnist", "R2AD2", 0.9),
            result("mnist", "AE", 0.7),
            result("url", "GradientForest", 0.5),
            result("url", "R2AD2", 0.6),
            result("url", "AE", 0.4),
            result("digits", "GradientForest", 1.0),
            result("mnist", "R2AD2", 0.1, overrides='{"epochs": 1, "scaling": "minmax"}'),
            result("mnist", "R2AD2", 0.98, budget="paper", max_rows=math.nan),
            result("url", "R2AD2", 0.2, budget="paper"),
        ]
    )


def block(view):
    return f"before\n<!-- results: {view} -->\nold\n<!-- end of results -->\nafter\n"


def table(view, rows):
    return markdown_table(fill(block(view), rows))


def test_filling_replaces_the_blocks_and_nothing_else(rows):
    page = block("tasks experiments=known") * 2
    filled = fill(page, rows)
    assert "old" not in filled
    assert filled.count("before\n<!-- results: tasks experiments=known -->\n\n| task |") == 2
    assert filled.endswith("\n\n<!-- end of results -->\nafter\n")
    assert fill(filled, rows) == filled


def test_tasks_have_the_means_of_seeds_and_of_complete_rows(rows):
    head, *lines = table("tasks experiments=known methods=R2AD2,GradientForest", rows)
    assert head == ["task", "R2AD2", "GradientForest"]
    assert lines == [
        ["digits, known", "-", "**.500 / 1.000**"],
        ["mnist, known", ".450 / .900", "**.485 / .970**"],
        ["url, known", "**.300 / .600**", ".250 / .500"],
        ["mean of 2", ".375 / .750", ".367 / .735"],
    ]


def test_the_overview_compares_methods_on_the_tasks_they_share(rows):
    page = fill(block("overview experiments=known"), rows)
    assert "\n2 tasks; " in page
    head, *lines = markdown_table(page)
    assert head[:5] == ["method", "AUC", "AP", "rank by AUC", "rank by AP"]
    assert [line[:5] for line in lines] == [
        ["R2AD2", ".375", ".750", "1.5", "1.5"],
        ["GradientForest", ".367", ".735", "1.5", "1.5"],
        ["AE", ".275", ".550", "3.0", "3.0"],
    ]


def test_the_overview_has_published_methods_on_request(rows):
    view = "overview experiments=known methods=GradientForest,AE published=DevNet"
    found = {line[0]: (line[2], line[-1]) for line in table(view, rows)[1:]}
    # DevNet's published AP: .98 on MNIST, .99 on URL.
    assert found["DevNet, published"] == (".985", "-")
    assert found["GradientForest"] == (".735", "2 s")


def test_losses_name_who_is_ahead(rows):
    assert table("losses experiments=known", rows)[1:] == [["url, known", ".500", "R2AD2 .600"]]
    won = rows[rows["dataset"] == "mnist"]
    assert "None, by more than 0.005 AP." in fill(block("losses experiments=known"), won)


def test_published_figures_are_reproduced_or_not(rows):
    _, *lines = table("published budget=paper methods=R2AD2", rows)
    # Published: .97 / .98 on MNIST, .95 / .99 on URL.
    assert [(line[0], line[1], line[5]) for line in lines] == [
        ("mnist, known", "5,000 (all)", "lower / yes"),
        ("url, known", "5,000", "lower"),
    ]


def test_budgets_are_compared_on_the_same_splits(rows):
    _, *lines = table("budgets budget=paper,fast methods=R2AD2", rows)
    assert lines == [["url, known", "0.100 / 0.200", "0.300 / 0.600", "2 s / 2 s"]]


def test_costs_are_medians_of_training_and_per_scored_row(rows):
    head, *lines = table("costs experiments=known data=mnist", rows)
    assert head == ["data set", "GradientForest", "AE", "R2AD2"]
    assert lines == [["mnist", "2 s / 1,000", "2 s / 1,000", "2 s / 1,000"]]


def test_seeds_are_chosen(rows):
    one = table("tasks experiments=known methods=GradientForest data=mnist seeds=210", rows)
    assert one[1] == ["mnist, known", "**.480 / .960**"]


def test_ranks_and_orders_are_those_of_the_comparison(rows):
    text = fill(block("ranks experiments=known metric=AP"), rows)
    expected = "Average ranks by AP: GradientForest 1.50, R2AD2 1.50, AE 3.00 (critical difference "
    assert expected in text
    _, *lines = table("orders experiments=known methods=R2AD2,AE", rows)
    mnist = ["mnist", "R2AD2 > AE", "R2AD2 > AE", "yes", "1.00"]
    assert lines == [mnist, ["url", "R2AD2 > AE", "R2AD2 > AE", "yes", "1.00"]]


def test_tables_of_the_publication_have_its_figures(rows):
    _, *lines = table("table experiments=known methods=R2AD2,AE metric=AP", rows)
    assert lines[0][:2] == ["mnist", "**0.900** (0.98)"]


def test_other_settings_are_chosen_by_name(rows):
    view = 'tasks methods=R2AD2 overrides={"scaling":"minmax","epochs":1}'
    assert table(view, rows)[1] == ["mnist, known", "**.050 / .100**"]


def test_levels_become_columns():
    rows = pd.DataFrame(
        result(dataset, method, ap, experiment="anomalies", level=level)
        for dataset, method, level, ap in (
            ("mnist", "GradientForest", 5.0, 0.8),
            ("mnist", "GradientForest", 50.0, 0.9),
            ("mnist", "AE", 5.0, 0.85),
            ("mnist", "AE", 50.0, 0.6),
            ("url", "GradientForest", 50.0, 0.5),
        )
    )
    assert table("levels experiments=anomalies", rows) == [
        ["data set, method", "5", "50"],
        ["mnist, GradientForest", ".800", "**.900**"],
        ["mnist, AE", "**.850**", ".600"],
        ["url, GradientForest", "-", "**.500**"],
    ]
    assert table("mean-levels experiments=anomalies", rows)[1:] == [
        ["GradientForest", ".400 / .800", ".450 / .900"],
        ["AE", ".425 / .850", ".300 / .600"],
    ]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("<!-- results: tasks -->\n", "must end with '<!-- end of results -->'"),
        ("<!-- end of results -->\n", "must end with"),
        (block("picture experiments=known"), "unknown view of results 'picture'"),
        (block("tasks experiments=ablation"), "no results for 'tasks experiments=ablation'"),
        (block("table experiments=known"), "unknown metric ''"),
        (block("tasks known"), "'known' in 'tasks known' is not option=value"),
    ],
)
def test_a_broken_block_is_named(rows, page, message):
    with pytest.raises(ValueError, match=message):
        fill(page, rows)


def test_the_command_fills_files(rows, tmp_path):
    rows.to_csv(tmp_path / "results.csv", index=False)
    page = tmp_path / "page.md"
    page.write_text(block("tasks experiments=known"))
    pages.main([str(tmp_path / "results.csv"), str(page)])
    assert "| url, known |" in page.read_text()
