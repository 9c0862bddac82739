"""Only the page itself, with the token and from this machine, may read rows and change labels."""

from __future__ import annotations

import http.client
import json
import time

import numpy as np
import pandas as pd
import pytest

from r2ad2.review import ReviewSession, widget
from tests.helpers.review import HOSTILE, payment_session

pytestmark = pytest.mark.usefixtures("review_extra")
SECRETS = ("/queue", "/rows/0", "/rows/0/explanation", "/figures", "/status", "/labels.csv")


@pytest.fixture(scope="module")
def session(tmp_path_factory, review_extra):
    folder = tmp_path_factory.mktemp("review")
    return payment_session(folder, output=folder / "reviewed.keras")


@pytest.fixture(scope="module")
def server(session):
    from r2ad2.review.server import ReviewServer

    server = ReviewServer(session, f"new.csv {HOSTILE}")
    server.start()
    yield server
    server.close()


@pytest.fixture
def ask(server):
    """Return a function that sends a request with a valid cookie unless told otherwise."""

    def ask(path, method="GET", body=None, **headers):
        access = server.access
        given = {"Host": f"127.0.0.1:{access.port}", "Cookie": f"{access.cookie}={access.token}"}
        if body is not None:
            given["Content-Type"] = "application/json"
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", access.port, timeout=30)
        connection.request(
            method, path, body, {name: value for name, value in given.items() if value is not None}
        )
        response = connection.getresponse()
        text = response.read().decode("utf-8")
        connection.close()
        return response, text

    return ask


def post(ask, path, **values):
    return ask(path, "POST", json.dumps(values))


def test_the_address_with_the_token_opens_the_page_and_sets_a_strict_cookie(server, ask):
    address = server.url.split(str(server.access.port))[1]
    response, text = ask(address, Cookie=None)
    assert response.status == 200
    assert "Review" in text
    cookie = response.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert server.access.token not in text
    # A link on another page may open it, as the token is known there.
    assert ask(address, Cookie=None, Sec_Fetch_Site="cross-site")[0].status == 200


@pytest.mark.parametrize("path", [*SECRETS, "/", "/static/review.js"])
def test_nothing_is_told_without_the_token(server, ask, path):
    response, text = ask(path, Cookie=None)
    assert response.status == 401
    assert "T1" not in text
    assert ask(path, Cookie=f"{server.access.cookie}=guess")[0].status == 401


@pytest.mark.parametrize("path", SECRETS)
def test_the_token_in_the_address_opens_nothing_but_the_page(server, ask, path):
    response, _ = ask(f"{path}?token={server.access.token}", Cookie=None)
    assert response.status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Origin": "https://example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Host": "example.com"}, 421),
        ({"Host": "127.0.0.1.example.com"}, 421),
        ({"Host": "127.0.0.1:1"}, 421),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_requests_of_other_sites_change_nothing_though_the_browser_sends_the_cookie(
    session, ask, headers, status
):
    before = session.store.version()
    body = json.dumps({"position": 0, "label": "normal"})
    response, _ = ask("/label", "POST", body, **headers)
    assert response.status == status
    assert session.store.version() == before


def test_the_page_limits_what_it_may_load(ask):
    policy = ask("/queue")[0].headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["/", *SECRETS[:4]])
def test_texts_of_rows_are_escaped(ask, path):
    text = ask(path)[1]
    assert "<img" not in text
    assert "<script>" not in text


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"position": 0, "label": "bad"}, 400),
        ({"position": 10_000, "label": "normal"}, 404),
        ({"position": "0", "label": "normal"}, 404),
        ({"position": 0, "label": "normal", "note": 3}, 400),
        ({"position": 0}, 400),
        ({"position": 0, "label": "normal", "note": "x" * 70_000}, 413),
    ],
)
def test_bad_changes_are_refused(session, ask, values, status):
    before = session.store.version()
    assert post(ask, "/label", **values)[0].status == status
    assert session.store.version() == before


def test_labels_undo_and_search(session, ask):
    position = int(session.queue("score")[0])
    assert post(ask, "/label", position=position, label="anomaly", window="w")[0].status == 200
    assert session.labels()[position] == "anomaly"
    assert f'data-position="{position}"' not in ask("/queue?show=unreviewed")[1]
    assert f'data-position="{position}"' in ask("/queue?show=anomaly")[1]
    undone = json.loads(post(ask, "/undo", window="w")[1])
    assert undone["position"] == position
    assert session.labels()[position] == ""
    assert json.loads(post(ask, "/undo", window="w")[1])["position"] is None
    assert "no column &#39;price&#39;" in ask("/queue?search=price%3E3")[1]
    assert "10 rows" in ask("/queue?show=all&search=amount%3E150")[1]
    assert "page 2 of 2" in ask("/queue?page=1")[1]


def test_a_page_of_an_earlier_run_changes_nothing(server, session, ask):
    before = session.store.version()
    body = json.dumps({"position": 0, "label": "anomaly"})
    response, text = ask("/label", "POST", body, X_Review_Run="of yesterday")
    assert response.status == 409
    assert "This page is out of date" in text
    assert ask("/rows/0", X_Review_Run="of yesterday")[0].status == 409
    assert session.store.version() == before
    assert f'data-run="{server.access.run}"' in ask("/")[1]
    assert ask("/rows/0", X_Review_Run=server.access.run)[0].status == 200


def test_labels_that_cannot_be_kept_are_said_to_be_so(session, ask, monkeypatch):
    def disk_full(*_, **__):
        raise OSError(28, "No space left on device")

    position = int(session.queue()[0])
    with monkeypatch.context() as patch:
        patch.setattr(session.store, "_insert", disk_full)
        response, text = post(ask, "/label", position=position, label="normal")
    assert response.status == 500
    assert "No space left on device" in text
    assert session.labels()[position] == ""
    with monkeypatch.context() as patch:
        patch.setattr("r2ad2.review.store.write_atomically", disk_full)
        response, text = post(ask, "/label", position=position, label="normal", window="full")
    assert response.status == 200
    assert "could not be written (No space left on device)" in json.loads(text)["notice"]
    assert session.labels()[position] == "normal"
    assert json.loads(post(ask, "/undo", window="full")[1])["notice"] == ""


def test_learning_from_the_page(session, ask):
    for position in session.queue("score")[:3].tolist():
        post(ask, "/label", position=position, label="anomaly")
    assert json.loads(post(ask, "/learn")[1]) == {"started": True}
    deadline = time.monotonic() + 60
    while (status := json.loads(ask("/status")[1])["learning"])["running"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert status["error"] == ""
    assert session.output.exists()
    text = ask("/figures")[1]
    assert "100 %" in text  # of the reviewed rows are anomalies
    assert "at most 5 % of normal rows" in text


def test_the_first_page_of_100_000_rows_is_quick(session, tmp_path):
    from r2ad2.review.pages import Pages
    from r2ad2.review.security import Access

    rng = np.random.default_rng(0)
    many = pd.DataFrame(rng.normal(100, 10, (100_000, 2)), columns=["amount", "hour"])
    text = session.rows.frame.columns[2]
    large = ReviewSession(
        session.detector, many.assign(**{text: "plain"}), labels=tmp_path / "labels.csv"
    )
    pages = Pages(large, Access(1), "many rows")
    for position in range(20):
        large.label(position, "normal")
    start = time.monotonic()
    assert "99,980 rows" in pages.page()
    assert time.monotonic() - start < 1
    start = time.monotonic()
    pages.row(int(large.queue()[0]))
    assert time.monotonic() - start < 1


def test_a_notebook_frames_the_page_and_needs_no_cookie(session, tmp_path):
    shown = widget(
        session.detector, session.rows.samples, labels=tmp_path / "labels.csv", title="samples"
    )
    try:
        assert shown.url.startswith("http://127.0.0.1:")
        assert f'src="{shown.url}"' in shown._repr_html_()
        connection = http.client.HTTPConnection(
            "127.0.0.1", int(shown.url.split(":")[2].split("/")[0])
        )
        connection.request("GET", shown.url[shown.url.index("/?") :])
        response = connection.getresponse()
        assert response.headers["Set-Cookie"] is None
        assert "http://localhost:*" in response.headers["Content-Security-Policy"]
        token = shown.url.split("token=")[1]
        assert token in response.read().decode()
        connection.request("GET", "/status", headers={"X-Review-Token": token})
        assert connection.getresponse().status == 200
        connection.close()
        # The browser downloads without the page's headers.
        for path, status in [("labels.csv", 200), ("status", 401)]:
            connection.request("GET", f"/{path}?token={token}")
            response = connection.getresponse()
            response.read()
            assert response.status == status
        connection.close()
        shown.session.label(0, "anomaly", "note")
        assert shown.labels["label"].tolist() == ["anomaly"]
    finally:
        shown.close()


def test_a_port_that_is_taken_is_named(server, session):
    from r2ad2.review.server import ReviewServer

    with pytest.raises(OSError, match=f"port {server.access.port} of 127.0.0.1"):
        ReviewServer(session, "again", port=server.access.port)
