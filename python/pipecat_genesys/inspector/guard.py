"""Access control of the inspector: only requests of the user's own browser are accepted.

The server listens on the loopback interface. A page of another site could still send requests to
this server, and could use a host name that resolves to 127.0.0.1, so that the requests look like
requests of this server's page (DNS rebinding). Therefore every request must name this server in
`Host`, come from this server's own page if it has an `Origin`, and have the secret token, in the
URL or in a cookie. Each start of the inspector makes a new token.
"""

from __future__ import annotations

import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Guard:
    """ASGI middleware that accepts only requests of the user's own browser.

    Args:
        app: The application.
        token: The token of this run.
        port: The port of the server.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self._app = app
        self._token = token
        self._cookie = f"inspector_{port}"
        self._hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, or refuse it with HTTP 403 or WebSocket code 1008."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        in_url = self._is_token((query.get("token") or [""])[0])
        reason = self._refusal(headers, in_url=in_url)
        if reason and scope["type"] == "websocket":
            await WebSocketClose(1008, reason)(scope, receive, send)
            return
        if reason:
            response = PlainTextResponse(f"{reason}\n", 403, headers=_HEADERS)
            await response(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    fields.setdefault(name, value)
                if in_url:
                    cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
                    fields.append("set-cookie", cookie)
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _refusal(self, headers: Headers, *, in_url: bool) -> str:
        """Return the reason why a request is refused; an empty string if it is accepted."""
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return "wrong Host: open the URL that `pipecat-genesys inspect` printed"
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{one}" for one in self._hosts}:
            return "wrong Origin: only the page of the inspector may send requests"
        if in_url:
            return ""
        try:
            cookies = SimpleCookie(headers.get("cookie", ""))
        except CookieError:
            cookies = SimpleCookie()
        cookie = cookies.get(self._cookie)
        if cookie is None or not self._is_token(cookie.value):
            return "no valid token: open the URL that `pipecat-genesys inspect` printed"
        return ""

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode("utf-8", "replace"), self._token.encode())
