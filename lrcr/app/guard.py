"""What every request must pass: the host it asks for, the page it comes from, the token, and the size of its body.

A stranger's web page, open in the same browser, could send requests to a server on this machine. Browsers name the page
in `Origin` and `Sec-Fetch-Site`. By DNS rebinding such a page can get the same origin, but then `Host` has its name.
"""

import asyncio
import hmac
from urllib.parse import SplitResult, parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lrcr.app.addresses import is_loopback
from lrcr.app.limits import Limits

_COOKIE = "lrcr_token"
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """ASGI middleware that refuses a request in one line of JSON, or hands it on with its body in memory.

    Args:
        app: that answers.
        token: that requests must show; None: none, and only requests to this machine by a name of its own pass.
        limits: of the server.
    """

    def __init__(self, app: ASGIApp, token: str | None, limits: Limits) -> None:
        self._app, self._token, self._limits = app, token, limits
        self._receiving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the module."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope)
        if refusal is None:
            body = await self._receive(Headers(scope=scope), receive)
            if isinstance(body, bytes):
                await self._app(scope, _replay(body, receive), _with_headers(send))
                return
            refusal = body
        await refusal(scope, receive, _with_headers(send))

    def _refuse(self, scope: Scope) -> Response | None:
        """Why a request is refused, or the answer to one that shows the token in its address; None: it passes."""
        headers, method, path = Headers(scope=scope), scope["method"], scope["path"]
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._token is None and not is_loopback(_split(f"//{host}").hostname or ""):
            return refuse(403, f"host {host[:80]!r}: not a name of this machine; open http://127.0.0.1 with the port")
        if origin is not None and (_split(origin).netloc.lower() or None) != host.lower():
            return refuse(403, f"origin {origin[:80]!r}: another page; open the page of this server")
        opens_page = method == "GET" and path == "/"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not opens_page:
            return refuse(403, "sec-fetch-site: the request comes from another page; open the page of this server")
        if self._token is None or self._knows(headers):
            return None
        if opens_page and self._is_token(parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(_COOKIE, self._token, max_age=30 * 24 * 3600, httponly=True, samesite="lax")
            return answer
        remedy = "open the address that lrcr serve printed, or send the header Authorization: Bearer TOKEN"
        return refuse(401, f"token: missing or wrong; {remedy}")

    def _knows(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(given.strip()):
            return True
        cookies = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        return any(name == _COOKIE and self._is_token(value.strip('"')) for name, _, value in cookies)

    def _is_token(self, given: str) -> bool:
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    async def _receive(self, headers: Headers, receive: Receive) -> bytes | Response:
        """The body of a request, or why it is refused."""
        limits = self._limits
        if self._receiving >= limits.uploads:
            return refuse(429, f"uploads: {limits.uploads} are being received already; try again in a moment")
        self._receiving += 1
        try:
            return await asyncio.wait_for(self._read(headers, receive), limits.upload_seconds)
        except TimeoutError:
            return refuse(408, f"body: not received within {limits.upload_seconds:g} s; send a smaller photo")
        finally:
            self._receiving -= 1

    async def _read(self, headers: Headers, receive: Receive) -> bytes | Response:
        most = self._limits.upload_bytes
        too_large = refuse(413, f"body: beyond {most / 2**20:g} MiB; send a smaller photo")
        if (length := headers.get("content-length", "0")).isdigit() and int(length) > most:
            return too_large
        parts, size = [], 0
        while True:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > most:
                return too_large
            if message["type"] == "http.disconnect" or not message.get("more_body"):
                return b"".join(parts)


def refuse(status: int, line: str) -> Response:
    """An answer that says in one line why there is no other."""
    headers = {"Retry-After": "1"} if status in (429, 503) else {"Connection": "close"} if status == 413 else None
    return JSONResponse({"error": " ".join(line.split())}, status, headers)


def _split(address: str) -> SplitResult:
    """The parts of an address; empty ones if it is none."""
    try:
        return urlsplit(address)
    except ValueError:
        return SplitResult("", "", "", "", "")


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return send_with_headers
