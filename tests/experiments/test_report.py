"""The report: which methods are compared, the map of the best methods, pages and links."""

from __future__ import annotations

import base64
import re

import numpy as np
import pandas as pd
import pytest

from r2ad2.detectors.presets import RECOMMENDED
from r2ad2.detectors.registry import detectors
from r2ad2.experiments import ResultStore, Run
from r2ad2.experiments.advice import advice_table, choose_methods
from r2ad2.experiments.comparison import comparable, rank
from r2ad2.experiments.figures import plot_choices, plot_costs, plot_levels, to_svg
from r2ad2.experiments.report import write_report
from r2ad2.experiments.sections import make_chapter
from tests.helpers.browser import SIZES
from tests.helpers.experiments import row


def results_of(precision, experiment="anomalies", n_train=500, level=5.0, seeds=(1,)):
    """Make rows: average precision by data set and method."""
    found = []
    for dataset, methods in precision.items():
        for method, value in methods.items():
            for seed in seeds:
                run = Run(experiment, dataset, method, seed, level)
                known = 100 if level is None else level
                found.append(row(run, AP=value, n_known_anomalies=known, n_train_normal=n_train))
    return pd.DataFrame(found)


def two_bins():
    """Make rows where "quick" wins with 5 labels and "deep" with 100, of 6 data sets."""
    few = {f"set{i}": {"quick": 0.8 + i / 100, "deep": 0.6 - i / 100} for i in range(6)}
    many = {f"set{i}": {"quick": 0.8, "deep": 0.8 + (-1) ** i * 0.01 + 0.002} for i in range(6)}
    return pd.concat([results_of(few), results_of(many, level=100.0)], ignore_index=True)


class TestComparable:
    def test_a_complete_table_stays(self):
        values = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, ["x", "y"])
        pd.testing.assert_frame_equal(comparable(values), values)

    def test_a_method_with_few_results_is_left_out_instead_of_the_rows(self):
        values = pd.DataFrame({"a": [1.0] * 6, "b": [2.0] * 6, "c": [3.0] * 4 + [np.nan] * 2})
        assert comparable(values).shape == (4, 3)  # two thirds are enough
        values.loc[3, "c"] = np.nan
        assert comparable(values).columns.tolist() == ["a", "b"]
        assert len(comparable(values)) == 6

    def test_rows_of_a_single_method_do_not_count(self):
        values = pd.DataFrame({"a": [1.0, 1.0, 1.0, 1.0], "b": [np.nan, np.nan, np.nan, 2.0]})
        assert comparable(values).index.tolist() == [3]

    def test_methods_that_share_nothing_cannot_be_compared(self):
        values = pd.DataFrame({"a": [1.0, np.nan], "b": [np.nan, 1.0]})
        assert comparable(values).empty

    def test_ranks_of_equal_methods_have_no_p_value(self):
        ranking = rank(pd.DataFrame({"a": [1.0, 0.5], "b": [1.0, 0.5], "c": [1.0, 0.5]}))
        assert ranking.ranks.tolist() == [2, 2, 2]
        assert np.isnan(ranking.friedman_p)


class TestChoices:
    def test_the_best_by_rank_in_each_bin(self):
        few, many = choose_methods(two_bins())
        assert (few.labels, few.rows, few.best, few.second) == ("1-5", "<1,000", "quick", "deep")
        assert few.margin == pytest.approx(0.825 - 0.575)
        assert (few.n_tasks, few.n_datasets) == (6, 6)
        assert few.is_significant  # six differences of one sign: p = 1/32
        assert few.p == pytest.approx(1 / 32)
        assert many.labels == ">50"
        assert many.ranking.tolist() == [1.5, 1.5]
        assert many.best == "deep"  # of equal ranks, the greater mean
        assert not many.is_significant

    @pytest.mark.parametrize(
        ("level", "n_train", "bins"),
        [
            (0.0, 999, ("0", "<1,000")),
            (1.0, 1000, ("1-5", "1,000-5,000")),
            (6.0, 5000, ("6-20", "1,000-5,000")),
            (50.0, 5001, ("21-50", ">5,000")),
            (51.0, 10**6, (">50", ">5,000")),
        ],
    )
    def test_borders_of_the_bins(self, level, n_train, bins):
        rows = results_of({"x": {"a": 0.5, "b": 0.6}}, level=level, n_train=n_train)
        (found,) = choose_methods(rows)
        assert (found.labels, found.rows) == bins

    def test_tasks_of_one_data_set_count_once_in_the_test(self):
        rows = pd.concat([results_of({"x": {"a": 0.5, "b": 0.6}}, level=n) for n in range(6, 20)])
        (found,) = choose_methods(rows)
        assert (found.n_tasks, found.n_datasets) == (14, 1)
        assert not found.is_significant

    def test_experiments_without_levels_and_with_other_settings_of_methods(self):
        precision = {"x": {"a": 0.5, "b": 0.6}}
        known = results_of(precision, "known", level=None)
        ablation = results_of(precision, "ablation", level=2.0)
        (found,) = choose_methods(pd.concat([known, ablation]))
        assert (found.labels, found.n_tasks) == (">50", 1)
        assert choose_methods(ablation) == []

    def test_no_picture_of_one_bin_or_one_method(self):
        rows = two_bins()
        assert plot_choices(choose_methods(rows)) is not None
        assert plot_choices(choose_methods(rows[rows["level"] == 5])) is None
        assert choose_methods(rows[rows["method"] == "deep"]) == []

    def test_the_picture_and_its_table_do_not_depend_on_the_order_of_rows(self):
        rows = two_bins()
        first = choose_methods(rows)
        second = choose_methods(rows.sample(frac=1, random_state=0))
        assert to_svg(plot_choices(first)) == to_svg(plot_choices(second))
        pd.testing.assert_frame_equal(advice_table(first), advice_table(second))

    def test_the_picture_says_what_its_cells_are(self):
        ax = plot_choices(choose_methods(two_bins())).axes[0]
        assert [text.get_text() for text in ax.texts] == [
            "quick",
            "> deep",
            "+0.250, 6 tasks",
            "deep",
            "≈ quick",
            "+0.002, 6 tasks",
        ]
        assert [label.get_text() for label in ax.get_yticklabels()] == ["1-5", ">50"]

    def test_long_names_fit_into_their_cells(self):
        rows = two_bins()
        rows["method"] = rows["method"] + "_with_a_name_much_longer_than_others"
        figure = plot_choices(choose_methods(rows))
        figure.draw_without_rendering()
        ax = figure.axes[0]
        for text in ax.texts:
            left, right = ax.transData.inverted().transform(text.get_window_extent())[:, 0]
            assert left >= 0
            assert right <= 1


class TestFigures:
    @pytest.fixture
    def rows(self):
        """Make rows of 1, 5 and 100 labels; "plain" has results without labels only."""
        parts = [results_of({"x": {"plain": 0.3, "a": 0.2}}, level=0.0)]
        parts += [results_of({"x": {"a": n, "b": n / 2}}, level=100 * n) for n in (0.01, 0.05, 1.0)]
        return pd.concat(parts, ignore_index=True)

    def test_a_method_without_labels_is_continued(self, rows):
        ax = plot_levels(rows, "anomalies", "a").axes[1]
        (dashed,) = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert list(dashed.get_xdata()) == [0, 100]
        assert list(dashed.get_ydata()) == [0.3, 0.3]
        curves = [line.get_xdata().tolist() for line in ax.lines if line is not dashed]
        assert curves == [[0, 1, 5, 100], [1, 5, 100], [0]]

    def test_uneven_levels_have_a_logarithmic_axis_with_zero(self, rows):
        ax = plot_levels(rows, "anomalies", "a").axes[0]
        assert ax.get_xscale() == "symlog"
        assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "5", "100"]
        positions = ax.transData.transform([(level, 0.5) for level in (0, 1, 5, 100)])[:, 0]
        assert (np.diff(positions) > 0.05 * np.ptp(positions)).all()

    def test_even_levels_have_a_linear_axis(self):
        parts = [
            results_of({"x": {"a": 0.5}}, "pollution", level=n) for n in (0.0, 0.025, 0.05, 0.075)
        ]
        assert plot_levels(pd.concat(parts), "pollution", "a").axes[0].get_xscale() == "linear"

    def test_means_need_all_levels_of_all_methods(self, rows):
        more = [rows, rows.assign(dataset="y"), rows.assign(dataset="z").iloc[:-1]]
        figure = plot_levels(pd.concat(more), "anomalies", "a")
        assert [ax.get_title() for ax in figure.axes[-2:]] == [
            "mean of 2 data sets: AUC",
            "mean of 2 data sets: AP",
        ]

    def test_methods_look_alike_in_all_figures_of_a_page(self, rows):
        curves = {
            line.get_label(): line.get_color()
            for line in plot_levels(rows, "anomalies", "b").legends[0].get_lines()
        }
        costs = plot_costs(rows[rows["level"] > 0]).axes[0]
        assert [text.get_text() for text in costs.texts] == ["a", "b"]
        # Their places in the alphabet, not in the legend, decide.
        assert [line.get_color() for line in costs.lines] == [curves["a"], curves["b"]]

    def test_names_of_close_points_stand_apart(self):
        figure = plot_costs(results_of({"x": {"ab": 0.5, "bc": 0.5, "cd": 0.501, "far": 0.9}}))
        figure.draw_without_rendering()
        boxes = [text.get_window_extent() for text in figure.axes[0].texts]
        assert [box.count_overlaps(boxes) for box in boxes] == [1, 1, 1, 1]  # each with itself


class TestStanding:
    def test_methods_are_compared_on_shared_tasks(self):
        shared = {name: {"a": 0.9, "b": 0.7} for name in "xyz"}
        rows = pd.concat([results_of(shared), results_of({"x": {"c": 0.99}}, level=0.0)])
        (section,) = make_chapter(rows, "a").sections
        table = section.standing.methods.set_index("method")
        assert table["AP"].round(9).tolist()[:2] == [0.9, 0.7]
        assert table["rank"].tolist()[:2] == [1, 2]
        assert np.isnan(table.loc["c", "AP"])
        assert table["n_tasks"].to_dict() == {"a": 3, "b": 3, "c": 1}
        assert "Too few of these tasks to be ranked: c." in section.standing.note

    def test_a_single_method_has_means_and_no_rank(self):
        rows = results_of({"x": {"a": 0.9}, "y": {"a": 0.7}}, "known", level=None)
        standing = make_chapter(rows, "a").sections[0].standing
        (found,) = standing.methods.to_dict("records")
        assert found["AP"] == pytest.approx(0.8)
        assert np.isnan(found["rank"])
        assert standing.note == "Means over 2 data sets."


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Write a report on many methods and data sets, two budgets and a failed run."""
    rng = np.random.default_rng(0)
    methods = [f"MethodWithLongName{i}" for i in range(9)]
    parts = []
    for experiment, level, n_train in [
        ("known", None, 5000),
        ("anomalies", 0.0, 500),
        ("anomalies", 5.0, 500),
        ("anomalies", 50.0, 5000),
    ]:
        precision = {
            name: dict(zip(methods, rng.random(9).round(3), strict=True))
            for name in ("mammography", "url", "ids2018")
        }
        parts.append(results_of(precision, experiment, n_train, level, seeds=(1, 2)))
    parts.append(parts[0].assign(budget="paper"))
    rows = pd.concat(parts, ignore_index=True)
    rows.loc[0, "error"] = "ValueError: " + "a_long_word_without_spaces" * 3
    folder = tmp_path_factory.mktemp("report")
    rows.to_csv(folder / "results.csv", index=False)
    write_report(folder / "results.csv", folder)
    return folder


def hrefs(text):
    return [link for link in re.findall(r'href="([^"]*)"', text) if not link.startswith("data:")]


class TestPages:
    def test_every_link_has_its_target(self, folder):
        pages = {path.name: path.read_text("utf-8") for path in folder.glob("*.html")}
        assert set(pages) == {"report.html", "known.html", "anomalies.html"}
        for name, text in pages.items():
            for link in hrefs(text):
                page, _, anchor = link.partition("#")
                assert not anchor or f'id="{anchor}"' in pages[page or name]
                assert (page or name) in pages
        assert "report.html" in hrefs(pages["known.html"])
        assert "anomalies.html" in hrefs(pages["known.html"])

    def test_earlier_links_into_the_overview_still_arrive(self, folder):
        text = (folder / "report.html").read_text("utf-8")
        for anchor in ("fast", "paper-known", "fast-table3_auc", "fast-figure3_ap"):
            assert text.count(f'id="{anchor}"') == 1
        assert 'id="fast-table3_auc"><a href="known.html#fast-table3_auc"' in text

    def test_ids_are_unique(self, folder):
        for path in folder.glob("*.html"):
            ids = re.findall(r' id="([^"]*)"', path.read_text("utf-8"))
            assert len(set(ids)) == len(ids)

    def test_the_overview_has_the_map_its_table_and_all_rows(self, folder):
        text = (folder / "report.html").read_text("utf-8")
        svg = (folder / "fast" / "choice.svg").read_bytes()
        assert base64.b64encode(svg).decode() in text
        assert not (folder / "paper" / "choice.svg").exists()  # one bin only
        assert text.count("The same as a table") == 1
        assert len(pd.read_csv(folder / "fast" / "choice.csv")) == 4
        csv = re.search(r'download="results.csv" href="data:text/csv;base64,([^"]*)"', text)
        table = base64.b64decode(csv[1]).decode()
        assert table.startswith("experiment,dataset,method,seed")
        assert "traceback" not in table

    def test_failed_runs_are_counted_and_listed(self, folder):
        overview = (folder / "report.html").read_text("utf-8")
        assert 'known.html#fast-failures">Failed runs</a>: 1 of 54' in overview
        assert "a_long_word" in (folder / "known.html").read_text("utf-8")
        assert "Failed runs" not in (folder / "anomalies.html").read_text("utf-8")

    def test_an_experiment_that_failed_altogether_has_its_page(self, tmp_path):
        store, run = ResultStore(tmp_path), Run("known", "digits", "AE", 1)
        store.write(run, row(run, error="ValueError: no"))
        page = write_report(tmp_path)
        assert "1 of 1" in page.read_text("utf-8")
        assert "ValueError: no" in page.with_name("known.html").read_text("utf-8")

    @pytest.mark.parametrize("is_there", [True, False])
    def test_the_recommended_detector_is_the_reference(self, is_there, tmp_path):
        (name,) = [name for name, kind in detectors().items() if kind is RECOMMENDED]
        methods = {"Aaa": 0.5, "Bbb": 0.4} | ({name: 0.3} if is_there else {})
        rows = results_of(dict.fromkeys(("x", "y"), methods), "known", level=None)
        rows.to_csv(tmp_path / "results.csv", index=False)
        page = write_report(tmp_path / "results.csv").with_name("known.html").read_text("utf-8")
        assert f"p (Wilcoxon, {name if is_there else 'Aaa'})" in page


# Everything that reaches beyond the window and does not scroll in a box of its own.
CUT_OFF = """
[...document.querySelectorAll("main *, header *")].filter((element) => {
  const box = element.getBoundingClientRect();
  const clipped = element.closest(".scroll, .hidden, svg");
  return !clipped && box.width > 0 && box.right > innerWidth + 1;
}).map((element) => element.outerHTML.slice(0, 80))
"""
# The column of each clickable heading must exist in each row of its table.
SORT_ALL = """
[...document.querySelectorAll("details")].forEach((one) => { one.open = true; });
[...document.querySelectorAll("table.sortable")].map((table) => {
  const before = table.tBodies[0].rows.length;
  table.querySelectorAll("button.sort").forEach((button) => { button.click(); button.click(); });
  return before === table.tBodies[0].rows.length
    && table.querySelectorAll("th[aria-sort=descending]").length === 1;
})
"""


@pytest.fixture
def open_page(browser, folder):
    """Return a function that opens a page of the report."""
    opened = []

    def open_one(link, size="wide", scheme="light"):
        page = browser.new_page(viewport=SIZES[size], color_scheme=scheme)
        opened.append(page)
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        page.goto(f"{folder.as_uri()}/{link}")
        return page

    yield open_one
    for page in opened:
        page.close()


@pytest.mark.slow
class TestInABrowser:
    @pytest.mark.parametrize("name", ["report", "known", "anomalies"])
    @pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
    def test_nothing_is_cut_off_and_axe_has_no_findings(self, open_page, name, size, scheme):
        axe = pytest.importorskip(
            "axe_playwright_python.sync_playwright", reason="axe is not installed"
        )
        page = open_page(f"{name}.html", size, scheme)
        assert page.evaluate("[...document.images].every((one) => one.naturalWidth > 0)")
        assert all(page.evaluate(SORT_ALL))
        assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
        assert page.evaluate(CUT_OFF) == []
        results = axe.Axe().run(page)
        assert results.violations_count == 0, results.generate_report()

    def test_from_the_overview_to_a_table_and_back(self, open_page):
        page = open_page("report.html")
        page.get_by_role("link", name="Table 3, Known anomalies: AP").first.click()
        assert page.url.endswith("/known.html#fast-table3_ap")
        assert page.locator("#fast-table3_ap").is_visible()
        page.get_by_role("link", name="Overview").click()
        assert page.url.endswith("/report.html")

    def test_sorting_the_methods_by_rank(self, open_page):
        page = open_page("report.html")
        table = page.locator("#fast-known table")
        heading = table.get_by_role("button", name="average rank")
        ranks = table.locator("tbody td:nth-child(4)")
        heading.click()
        ascending = [float(text) for text in ranks.all_inner_texts()]
        heading.click()
        assert ascending == sorted(ascending)
        assert [float(text) for text in ranks.all_inner_texts()] == ascending[::-1]

    def test_a_link_to_the_times_opens_them(self, open_page):
        page = open_page("known.html#fast-costs")
        assert page.locator("#fast-costs table").is_visible()
