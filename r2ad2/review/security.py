"""Who may talk to the page: one token, this machine, no other web site."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from r2ad2.support.extras import from_extra

with from_extra("review", "starlette"):
    from starlette.datastructures import Headers, MutableHeaders
    from starlette.requests import cookie_parser
    from starlette.responses import HTMLResponse, PlainTextResponse, Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
TOKEN_HEADER = "x-review-token"
RUN_HEADER = "x-review-run"
# Where a notebook's page may come from; a frame in it also needs the token.
_NOTEBOOKS = (
    "http://127.0.0.1:* http://localhost:* https://127.0.0.1:* https://localhost:* vscode-webview:"
)
_OUT_OF_DATE = (
    "This page is out of date, because r2ad2 review was started again: open the address that it "
    "printed last."
)
_LOCKED = (
    "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Review</title><h1>Token missing</h1>"
    "<p>Open the address that <code>r2ad2 review</code> prints: it ends in a token. Every start "
    "has a new one.</p></html>"
)


@dataclass(frozen=True)
class Access:
    """The address of the page and the token in it.

    Attributes:
        port: port the server listens on.
        host: address the server listens on.
        is_framed: whether a notebook shows the page in a frame, where browsers send no cookies.
        token: a secret of this run.
        run: a name of this run, which its pages send along: positions of another one are not
            those of this table.
    """

    port: int
    host: str = "127.0.0.1"
    is_framed: bool = False
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    run: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def url(self) -> str:
        """The address with the token."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/?token={self.token}"

    @property
    def cookie(self) -> str:
        """Name of the cookie; browsers send cookies to all ports of a host."""
        return f"r2ad2_review_{self.port}"

    @property
    def hosts(self) -> set[str]:
        """What the Host header may be."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return {f"{name}:{self.port}" for name in (*LOOPBACK, own)}

    def is_token(self, text: str) -> bool:
        """Compare a text with the token in constant time."""
        return secrets.compare_digest(text.encode(), self.token.encode())


class Guard:
    """Middleware that lets only requests of the page itself pass, and limits what the page may do.

    A request needs a Host header of this server (against DNS rebinding) and the token: in the
    address of the page or of its static files, in the cookie that the page sets, or in a header.
    Requests that another site caused are refused, except for opening the page with the token.

    Args:
        app: what comes behind.
        access: address and token.
    """

    def __init__(self, app: ASGIApp, access: Access):
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no web sockets
            return
        refusal = self._refusal(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
            await send(message)

        await (refusal or self._app)(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if host not in self._access.hosts:
            return PlainTextResponse("unknown host", 421)
        opens = scope["method"] == "GET" and scope["path"] == "/"
        in_address = self._is_in_address(scope)
        site = headers.get("sec-fetch-site", "none")
        if site not in ("same-origin", "none") and not (opens and in_address):
            return PlainTextResponse("requests from other sites are refused", 403)
        if "origin" in headers and headers["origin"] != f"http://{host}":
            return PlainTextResponse("requests from other sites are refused", 403)
        cookies = cookie_parser(headers.get("cookie", ""))
        given = (cookies.get(self._access.cookie, ""), headers.get(TOKEN_HEADER, ""))
        if not in_address and not any(map(self._access.is_token, given)):
            return HTMLResponse(_LOCKED, 401)
        # A page that was left open has the cookie of a later run on the same port.
        if headers.get(RUN_HEADER, self._access.run) != self._access.run:
            return PlainTextResponse(_OUT_OF_DATE, 409)
        return None

    def _is_in_address(self, scope: Scope) -> bool:
        path, is_framed = scope["path"], self._access.is_framed
        is_open = path == "/" or path.startswith("/static/")
        # A frame has no cookie, and the browser downloads without the page's headers.
        if scope["method"] != "GET" or not (is_open or (is_framed and path == "/labels.csv")):
            return False
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return any(self._access.is_token(token) for token in query.get("token", ()))

    @property
    def _headers(self) -> dict[str, str]:
        ancestors = _NOTEBOOKS if self._access.is_framed else "'none'"
        policy = (
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
            "connect-src 'self'; form-action 'none'; base-uri 'none'; "
            f"frame-ancestors {ancestors}"
        )
        return {
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cache-control": "no-store",
            "cross-origin-resource-policy": "same-origin",
            **({} if self._access.is_framed else {"x-frame-options": "DENY"}),
        }
