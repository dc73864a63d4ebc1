"""ASGI middleware of the service: body limit, and access by token or from this machine."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from json import dumps
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_SECONDS = 30.0
"""Longest time that a request body may take to arrive."""


class BodyLimit:
    """Reads the body before the application; refuses a body too long (413) or too slow (408).

    Args:
        app: The wrapped application.
        max_bytes: Longest accepted body.
        seconds: Longest time that a body may take to arrive.
    """

    def __init__(self, app: App, *, max_bytes: int, seconds: float = BODY_SECONDS) -> None:
        self._app, self._max, self._seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(receive)
        except TimeoutError:
            why = f"the body took more than {self._seconds:g} seconds to arrive; send it at once"
            await _refuse(send, 408, why)
            return
        if body is None:
            return
        if len(body) > self._max:
            await _refuse(send, 413, f"a body may have {self._max} bytes; send smaller requests")
            return
        messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """Return the body, cut off soon after the limit; none if the client disconnected."""
        body, more = b"", True
        while more and len(body) <= self._max:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body, more = body + message.get("body", b""), message.get("more_body", False)
        return body


class AccessControl:
    """Refuses requests without the token (401), or, if there is no token, to another host (400).

    The check of the `Host` header prevents DNS rebinding: a web page whose own domain name resolves
    to this machine cannot read the answers through a browser here.

    Args:
        app: The wrapped application.
        token: Token expected as `Authorization: Bearer TOKEN`; none: answer only to this machine's
            own names.
        open_paths: Paths that need no token.
    """

    def __init__(self, app: App, *, token: str | None, open_paths: frozenset[str]) -> None:
        self._app, self._open = app, open_paths
        self._expected = None if token is None else f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request (ASGI)."""
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        if scope["type"] != "http" or self._may_pass(scope["path"], headers):
            await self._app(scope, receive, send)
        elif self._expected is None:
            why = "without a token this service answers only to localhost; start it with one"
            await _refuse(send, 400, why)
        else:
            why = "this service needs a token; send the header 'Authorization: Bearer TOKEN'"
            await _refuse(send, 401, why, (b"www-authenticate", b"Bearer"))

    def _may_pass(self, path: str, headers: dict[bytes, bytes]) -> bool:
        if self._expected is None:
            return is_loopback(_without_port(headers.get(b"host", b"").decode("latin-1")))
        given = headers.get(b"authorization", b"")
        return path in self._open or hmac.compare_digest(given, self._expected)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    Example:
        >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1")]
        [True, True, True, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _without_port(host: str) -> str:
    """Return the name in a `Host` header.

    Example:
        >>> [_without_port(host) for host in ("localhost:8000", "[::1]:8000", "127.0.0.1")]
        ['localhost', '::1', '127.0.0.1']
    """
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


async def _refuse(send: Send, status: int, why: str, *headers: tuple[bytes, bytes]) -> None:
    kind = (b"content-type", b"application/json")
    await send({"type": "http.response.start", "status": status, "headers": [kind, *headers]})
    await send({"type": "http.response.body", "body": dumps({"error": why}).encode()})
