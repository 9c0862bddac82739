"""The page in a real Chromium: labels by keyboard, learning, reloading, undo, accessibility."""

from __future__ import annotations

import http.server
import threading
import time

import pytest

from tests.helpers.browser import SIZES
from tests.helpers.review import payment_session

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("review_extra")]


@pytest.fixture
def server(tmp_path, review_extra):
    from r2ad2.review.server import ReviewServer

    session = payment_session(tmp_path, output=tmp_path / "reviewed.keras")
    server = ReviewServer(session, "new.csv")
    server.session = session
    server.start()
    yield server
    server.close()


@pytest.fixture
def notebook():
    """Return a function that serves a page from another origin, as notebooks are."""
    servers = []

    def serve(html):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(html.encode())

            def log_message(self, *args):
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://localhost:{servers[-1].server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def open_page(browser, server):
    """Return a function that opens the page; errors of the page fail the test."""
    contexts, errors = [], []

    def open_page(size="wide", scheme="light"):
        context = browser.new_context(viewport=SIZES[size], color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on(
            "console", lambda m: errors.append(m.text) if m.type in ("error", "warning") else None
        )
        page.goto(server.url)
        ready(page)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def ready(page):
    page.wait_for_selector("#explanation[aria-busy=false] li, #explanation[aria-busy=false] p")


def shown(page):
    return int(page.get_attribute("#row-title", "data-position"))


# The page's policy forbids the `eval` of `wait_for_function`: selectors do all the waiting.
def moved_on(page, position):
    page.wait_for_selector(f"#row-title:not([data-position='{position}'])")


def press(page, key):
    before = shown(page)
    page.keyboard.press(key)
    moved_on(page, before)
    return before


def reviewed(page, n):
    page.wait_for_selector(f"#n-reviewed:text-is('{n}')")


def test_label_by_keyboard_learn_reload_and_undo(open_page, server):
    page, session = open_page(), server.session
    assert "token" not in page.url  # it has left the address
    expected = session.queue()[:3].tolist()
    assert [press(page, key) for key in ("a", "n", "u")] == expected
    reviewed(page, 3)
    assert session.labels()[expected].tolist() == ["anomaly", "normal", "unsure"]
    assert "labelled unsure" in page.inner_text("#announcement")

    page.keyboard.press("e")
    page.keyboard.type("an =n l z")  # letters in the note are no shortcuts
    page.keyboard.press("Enter")
    page.wait_for_selector("#announcement:text-is('Note saved')", state="attached")
    noted = shown(page)
    press(page, "a")
    reviewed(page, 4)
    note = session.store.current()[session.rows.keys[noted]]
    assert (note.label, note.note) == ("anomaly", "an =n l z")

    page.keyboard.press("l")
    page.wait_for_selector(".rounds summary", timeout=60_000)
    assert "Learnt 1 time" in page.inner_text(".rounds summary")
    assert session.store.rounds()[0]["n_anomaly"] == 2
    page.wait_for_selector("#learn:enabled")
    page.wait_for_selector("#announcement:has-text('Learnt 1 time')", state="attached")

    current = shown(page)
    page.reload()
    ready(page)
    assert shown(page) == current
    reviewed(page, 4)
    page.keyboard.press("z")  # the window keeps its name: the latest label is taken back
    reviewed(page, 3)
    page.wait_for_selector(f"#row-title[data-position='{noted}']")
    assert session.labels()[noted] == ""
    assert page.evaluate("window.hacked") is None  # rows hold scripts


def test_buttons_search_and_filters(open_page, server):
    page, session = open_page(), server.session
    page.fill("input[name=search]", "amount>150")
    page.wait_for_selector("#queue-count:text-is('10 rows')")
    page.fill("input[name=search]", "price>1")
    page.wait_for_selector("#queue .problem")
    page.fill("input[name=search]", "")
    page.wait_for_selector("button.row")
    first = shown(page)
    page.click("button.label.anomaly")
    moved_on(page, first)
    reviewed(page, 1)
    page.select_option("select[name=show]", "anomaly")
    page.wait_for_selector(f"button.row[data-position='{first}'] .chip.anomaly")
    page.click(f"button.row[data-position='{first}']")
    page.wait_for_selector("button.label.anomaly[aria-pressed=true]")
    page.uncheck("#keys")
    page.keyboard.press("n")
    page.wait_for_timeout(200)
    assert session.labels()[first] == "anomaly"


def test_two_windows_do_not_lose_each_others_labels(open_page, server):
    left, right = open_page(), open_page()
    first = press(left, "a")
    right.keyboard.press("j")
    moved_on(right, first)
    ready(right)
    second = press(right, "n")
    for page in (left, right):
        reviewed(page, 2)  # each window hears of the other's labels
    left.keyboard.press("z")
    reviewed(left, 1)
    labels = server.session.labels()
    assert (labels[first], labels[second]) == ("", "normal")


def test_a_note_in_one_window_keeps_the_label_given_in_another(open_page, server):
    left, right = open_page(), open_page()
    position = shown(right)
    right.keyboard.press("e")
    right.keyboard.type("called the owner")
    assert press(left, "a") == position
    reviewed(left, 1)
    right.keyboard.press("Enter")
    right.wait_for_selector("#announcement:text-is('Note saved')", state="attached")
    (label,) = server.session.store.current().values()
    assert (label.label, label.note) == ("anomaly", "called the owner")


def test_what_is_typed_before_a_row_has_come_does_not_count_for_it(open_page, server):
    page, session = open_page(), server.session
    first, second = session.queue()[:2].tolist()
    page.route(f"**/rows/{second}", lambda route: (time.sleep(0.5), route.continue_()))
    page.keyboard.press("e")
    page.keyboard.type("about the first")
    page.keyboard.press("Enter")
    page.keyboard.press("a")
    page.keyboard.press("n")  # the second row is not there yet
    page.wait_for_selector(f"#row-title[data-position='{second}']")
    reviewed(page, 1)
    assert page.input_value("#note") == ""
    assert session.labels()[[first, second]].tolist() == ["anomaly", ""]
    notes = {key: one.note for key, one in session.store.current().items()}
    assert notes == {session.rows.keys[first]: "about the first"}
    assert press(page, "n") == second
    reviewed(page, 2)
    assert session.store.current()[session.rows.keys[second]].note == ""


def test_learning_does_not_take_the_row_from_someone_who_goes_on(open_page, server):
    page, session = open_page(), server.session
    for position in session.queue("score")[20:23].tolist():
        session.label(position, "normal")
    page.keyboard.press("l")
    press(page, "j")
    chosen = shown(page)
    page.keyboard.press("e")
    page.keyboard.type("half a note")
    page.wait_for_selector(".rounds summary", timeout=60_000)
    page.keyboard.type(", and the rest")
    assert shown(page) == chosen
    page.keyboard.press("Enter")
    page.wait_for_selector("#announcement:text-is('Note saved')", state="attached")
    note = session.store.current()[session.rows.keys[chosen]].note
    assert note == "half a note, and the rest"


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_nothing_is_cut_off_and_axe_has_no_findings(open_page, server, size, scheme):
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe is not installed"
    )
    session = server.session
    for position in session.queue("score")[:4].tolist():
        session.label(position, "anomaly" if position % 2 else "normal", "seen before")
    session.label(int(session.queue()[0]), "unsure")
    session.learn()
    page = open_page(size, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    page.select_option("select[name=order]", "score")
    page.select_option("select[name=show]", "all")
    page.wait_for_selector("button.row .chip.normal")
    results = axe.Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_the_page_works_by_tab_key_alone(open_page):
    page = open_page()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "row-title"
    page.keyboard.press("Shift+Tab")  # the note, before it the buttons
    names = []
    for _ in range(5):
        names.append(page.evaluate("document.activeElement.textContent.trim()"))
        page.keyboard.press("Shift+Tab")
    assert names[1:] == ["UndoZ", "UnsureU", "NormalN", "AnomalyA"]
    landmarks = page.evaluate(
        "[...document.querySelectorAll('header,main,footer,section[aria-labelledby]')].length"
    )
    assert landmarks >= 6


def test_a_notebook_shows_the_page_in_a_frame(browser, server, notebook, tmp_path):
    from r2ad2.review import widget

    frame = widget(
        server.session.detector, server.session.rows.samples, labels=tmp_path / "framed.csv"
    )
    page = browser.new_page()
    page.goto(notebook(frame._repr_html_()))
    inside = page.frame_locator("iframe")
    inside.locator("#explanation[aria-busy=false]").wait_for()
    inside.locator("button.label.normal").click()
    inside.locator("#n-reviewed", has_text="1").wait_for()
    assert frame.labels["label"].tolist() == ["normal"]
    with page.expect_download() as download:
        inside.get_by_text("framed.csv").click()
    assert download.value.path().read_bytes() == (tmp_path / "framed.csv").read_bytes()
    page.close()
    frame.close()
