"""The analyst's page as a web application, and the server that runs it on this machine."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from r2ad2.review.background import LearningJob
from r2ad2.review.pages import Pages
from r2ad2.review.security import Access, Guard
from r2ad2.review.session import ReviewSession
from r2ad2.review.store import LABELS
from r2ad2.support.extras import from_extra
from r2ad2.support.messages import reason_of

with from_extra("review", "starlette", "uvicorn", "jinja2"):
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.requests import Request
    from starlette.responses import (
        FileResponse,
        HTMLResponse,
        JSONResponse,
        PlainTextResponse,
        Response,
    )
    from starlette.routing import Mount, Route
    from starlette.staticfiles import StaticFiles

_MAX_BODY = 64 * 1024
_MAX_NOTE = 2000
_LAST_SECONDS = 30.0  # for a learning that is under way: Python must not end in the middle of it


class ReviewApp:
    """What the page's addresses answer.

    Args:
        session: the rows and labels.
        access: address and token.
        title: what is reviewed.
    """

    def __init__(self, session: ReviewSession, access: Access, title: str):
        self._session = session
        self._access = access
        self._pages = Pages(session, access, title)
        self._job = LearningJob(session)

    def asgi(self) -> Starlette:
        """Return the application."""
        routes = [
            Route("/", self._page),
            Route("/queue", self._queue),
            Route("/rows/{position:int}", self._row),
            Route("/rows/{position:int}/explanation", self._explanation),
            Route("/figures", self._figures),
            Route("/status", self._status),
            Route("/labels.csv", self._labels),
            Route("/label", self._label, methods=["POST"]),
            Route("/undo", self._undo, methods=["POST"]),
            Route("/learn", self._learn, methods=["POST"]),
            Mount("/static", StaticFiles(packages=[("r2ad2.review", "static")])),
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Guard, access=self._access)],
            exception_handlers={OSError: _told, sqlite3.Error: _told},
        )

    def stop(self, timeout: float) -> None:
        """End a learning that is under way, and wait for it for some seconds at most."""
        self._job.stop()
        self._job.wait(timeout)

    # ---- pages ----------------------------------------------------------------------------

    def _page(self, request: Request) -> Response:
        response = HTMLResponse(self._pages.page())
        if not self._access.is_framed:
            response.set_cookie(
                self._access.cookie, self._access.token, httponly=True, samesite="strict"
            )
        return response

    def _queue(self, request: Request) -> Response:
        query = request.query_params
        try:
            page = max(int(query.get("page", 0)), 0)
            html = self._pages.queue(
                query.get("order", ""), query.get("show", ""), query.get("search", ""), page
            )
        except ValueError as error:
            return HTMLResponse(self._pages.problem(str(error)))
        return HTMLResponse(html)

    def _row(self, request: Request) -> Response:
        return HTMLResponse(self._pages.row(self._position(request.path_params["position"])))

    def _explanation(self, request: Request) -> Response:
        position = self._position(request.path_params["position"])
        return HTMLResponse(self._pages.explanation(position))

    def _figures(self, request: Request) -> Response:
        return HTMLResponse(self._pages.figures())

    def _status(self, request: Request) -> Response:
        return JSONResponse(
            {"version": self._session.store.version(), "learning": self._job.status()}
        )

    def _labels(self, request: Request) -> Response:
        path = self._session.store.path
        if not path.exists():
            raise HTTPException(
                404, f"{path.name} has been moved or deleted: the next label writes it"
            )
        return FileResponse(path, media_type="text/csv", filename=path.name)

    # ---- changes --------------------------------------------------------------------------

    async def _label(self, request: Request) -> Response:
        body = await _json_body(request)
        position, label = self._position(body.get("position")), body.get("label")
        note = _text(body, "note")[:_MAX_NOTE] if "note" in body else None
        if label is not None and label not in LABELS:
            raise HTTPException(400, f"a label is one of {', '.join(LABELS)}")
        if label is None and note is None:
            raise HTTPException(400, "send a label, a note, or both")
        await run_in_threadpool(
            self._session.label, position, label, note, _text(body, "window")[:64]
        )
        return JSONResponse({"notice": self._session.store.notice})

    async def _undo(self, request: Request) -> Response:
        body = await _json_body(request)
        position = await run_in_threadpool(self._session.undo, _text(body, "window")[:64])
        name = None if position is None else str(self._session.rows.names[position])
        notice = self._session.store.notice
        return JSONResponse({"position": position, "name": name, "notice": notice})

    async def _learn(self, request: Request) -> Response:
        await _json_body(request)
        if not self._session.can_learn:
            raise HTTPException(409, "learning needs the training table: start with --train")
        return JSONResponse({"started": self._job.start()})

    def _position(self, value: Any) -> int:
        if not isinstance(value, int) or not 0 <= value < len(self._session.rows):
            raise HTTPException(404, "there is no such row")
        return value


def _told(request: Request, error: Exception) -> Response:
    """Answer with the reason why files cannot be read or written."""
    return PlainTextResponse(reason_of(error), 500)


async def _json_body(request: Request) -> dict[str, Any]:
    """Read the JSON object of a request; other sites cannot send this type unasked."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "send JSON")
    received = bytearray()
    async for piece in request.stream():
        received += piece
        if len(received) > _MAX_BODY:
            raise HTTPException(413, "too long")
    try:
        body = json.loads(received)
    except ValueError:
        raise HTTPException(400, "not JSON") from None
    if not isinstance(body, dict):
        raise HTTPException(400, "not an object")
    return body


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name, "")
    if not isinstance(value, str):
        raise HTTPException(400, f"{name} is not a text")
    return value


class ReviewServer:
    """Serves the page of a session.

    Args:
        session: the rows and labels.
        title: what is reviewed.
        port: port to listen on; 0 chooses a free one.
        host: address to listen on; any other than this machine's own lets others in who know the
            token, over an unencrypted connection.
        is_framed: whether a notebook shows the page in a frame.

    Raises:
        OSError: if the port is taken.
    """

    def __init__(
        self,
        session: ReviewSession,
        title: str,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        is_framed: bool = False,
    ):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
        except OSError as error:
            self._socket.close()
            raise OSError(
                f"cannot listen on port {port} of {host} ({error.strerror}): choose another port"
            ) from error
        self.access = Access(self._socket.getsockname()[1], host, is_framed)
        self._app = ReviewApp(session, self.access, title)
        config = uvicorn.Config(
            self._app.asgi(),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="off",
            timeout_graceful_shutdown=2,
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Address of the page, with the token."""
        return self.access.url

    def run(self, started: Callable[[], None] = lambda: None) -> None:
        """Serve until Ctrl+C.

        Args:
            started: called shortly before the server accepts requests, which wait until then.
        """
        self._socket.listen()
        started()
        with contextlib.suppress(KeyboardInterrupt):
            self._server.run(sockets=[self._socket])
        self._app.stop(_LAST_SECONDS)

    def start(self) -> None:
        """Serve in a background thread."""
        self._socket.listen()
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(5)
        self._socket.close()
