"""What stands before a service: the length of a body, the token, the name it is called by."""

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from json import dumps
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


BODY_SECONDS = 30.0
"""Time that a request's body may take to come."""


class ShortBodies:
    """Reads a body before the service sees it; refuses one that is too long (413) or slow (408).

    Args:
        app: The service behind.
        max_bytes: Length that is still accepted.
        seconds: Time that a body may take to come.
    """

    def __init__(self, app: App, *, max_bytes: int, seconds: float = BODY_SECONDS) -> None:
        self._app, self._max, self._seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(receive)
        except TimeoutError:
            said = f"the body took more than {self._seconds:g} seconds to come; send it at once"
            await _refuse(send, 408, said)
            return
        if body is None:
            return
        if len(body) > self._max:
            said = f"a request may have {self._max} bytes; ask for less at a time"
            await _refuse(send, 413, said)
            return
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> MutableMapping[str, Any]:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, again, send)

    async def _read(self, receive: Receive) -> bytes | None:
        """A body, as far as it matters; none if the client went away."""
        body, more = b"", True
        while more and len(body) <= self._max:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body, more = body + message.get("body", b""), message.get("more_body", False)
        return body


class TokenNeeded:
    """Lets only requests with the token pass, save those for some open paths (401).

    Args:
        app: The service behind.
        token: What must come as `Authorization: Bearer TOKEN`.
        open_paths: Paths that anybody may see.
    """

    def __init__(self, app: App, *, token: str, open_paths: frozenset[str]) -> None:
        self._app, self._open = app, open_paths
        self._wanted = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] == "http" and scope["path"] not in self._open:
            given = dict(scope["headers"]).get(b"authorization", b"")
            if not hmac.compare_digest(given, self._wanted):
                said = "this service wants a token, as the header 'Authorization: Bearer TOKEN'"
                await _refuse(send, 401, said, (b"www-authenticate", b"Bearer"))
                return
        await self._app(scope, receive, send)


class OwnNameNeeded:
    """Lets only requests pass that call the service by a name of this machine alone (400).

    Without it a page from anywhere could let its own name point here, and a browser on this machine
    would hand it the answers.

    Args:
        app: The service behind.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI has it."""
        if scope["type"] == "http":
            called = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            if not is_loopback(_without_port(called)):
                said = "without a token this service answers to localhost alone; start it with one"
                await _refuse(send, 400, said)
                return
        await self._app(scope, receive, send)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address.

    Example:
        >>> [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "0.0.0.0", "10.0.0.1")]
        [True, True, True, False, False]
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _without_port(called: str) -> str:
    """The name in a header `Host`.

    Example:
        >>> [_without_port(called) for called in ("localhost:8000", "[::1]:8000", "127.0.0.1")]
        ['localhost', '::1', '127.0.0.1']
    """
    if called.startswith("["):
        return called[1:].partition("]")[0]
    return called.partition(":")[0]


async def _refuse(send: Send, status: int, said: str, *headers: tuple[bytes, bytes]) -> None:
    kind = (b"content-type", b"application/json")
    await send({"type": "http.response.start", "status": status, "headers": [kind, *headers]})
    await send({"type": "http.response.body", "body": dumps({"error": said}).encode()})
