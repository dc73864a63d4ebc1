"""The server process of a run: address, token, shutdown."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from invlearn.inference.recommend.recommendation import Fallback, LeaveOut, Recommender
from invlearn.inference.serving.app import check_packages, check_token, create_app
from invlearn.inference.serving.middleware import is_loopback
from invlearn.runtime.errors import ConfigError, InvlearnError
from invlearn.runtime.interruption import interruptible
from invlearn.training.run import Run

TOKEN_VARIABLE = "INVLEARN_TOKEN"
MAX_CONNECTIONS = 1_000
"""Concurrent requests; more get status 503."""
GRACE_SECONDS = 10
"""Time for running requests to finish at shutdown."""


def serve(
    run: Run | str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str | None = None,
    leave_out: LeaveOut = "all",
    fallback: Fallback = "item-rate",
    threads: int = 1,
    dataset: str | Path | None = None,
    ready: Callable[[str], None] = lambda address: None,
) -> None:
    """Serve a run over HTTP until Ctrl-C or SIGTERM; running requests are answered first.

    Args:
        run: The run, or its folder.
        host: Address to listen on; any address but loopback needs a token.
        port: Port; 0 picks a free one.
        token: Token that requests must send as `Authorization: Bearer TOKEN`.
        leave_out: Pairs to leave out of the lists, as in `recommend`.
        fallback: Source of lists for users unknown to training, as in `recommend`.
        threads: CPU threads of the model.
        dataset: Where the run's dataset is now, if it was moved.
        ready: Called with the address once the service listens.

    Raises:
        ConfigError: The address needs a token, the token is too short, or the extra `serve` is
            not installed.
        InvlearnError: The service cannot listen on the address.
    """
    check_packages()
    check_address(host, token)
    import uvicorn

    if threads < 1:
        raise ConfigError(f"the model needs at least one thread; found {threads}")
    torch.set_num_threads(threads)
    run = run if isinstance(run, Run) else Run.open(run)
    recommender = Recommender.of(run, leave_out=leave_out, fallback=fallback, dataset=dataset)
    app = create_app(recommender, token=token)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        lifespan="off",
    )
    with _listening(host, port) as listener, interruptible():
        ready(f"http://{_bracketed(host)}:{listener.getsockname()[1]}")
        uvicorn.Server(config).run([listener])


def read_token(file: Path | None) -> str | None:
    """Read the token from a file, else from the environment variable `INVLEARN_TOKEN`.

    Raises:
        ConfigError: The file is missing or not ASCII.
    """
    if file is None:
        return os.environ.get(TOKEN_VARIABLE) or None
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the token from {file} ({error}); write it there as one line of ASCII"
        ) from error


def check_address(host: str, token: str | None) -> None:
    """Check that an address other machines can reach has a token.

    Raises:
        ConfigError: The address is not loopback and there is no token, or it is too short.
    """
    check_token(token)
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"anyone who reaches {host} could use the service; set a token with --token-file or "
            f"{TOKEN_VARIABLE}, or listen on 127.0.0.1"
        )


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _listening(host: str, port: int) -> Any:
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"a port is a number from 0 to 65535; found {port}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise InvlearnError(
            f"cannot listen on {_bracketed(host)}:{port} ({error}); choose another --host or --port"
        ) from error
    # Connections inherit it. Without it a response body waits up to 40 ms for the client to
    # acknowledge the headers; asyncio sets it only on listeners that it creates itself.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
