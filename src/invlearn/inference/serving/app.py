"""The HTTP service of a run: which request goes where, and what is said of a bad one."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any, TypeVar

from invlearn.inference.recommend.recommendation import Recommender
from invlearn.inference.serving.handlers import Answering
from invlearn.inference.serving.middleware import OwnNameNeeded, ShortBodies, TokenNeeded
from invlearn.inference.serving.schemas import (
    MAX_BODY_BYTES,
    Health,
    Problem,
    RecommendAnswer,
    RecommendRequest,
    ScoreAnswer,
    ScoreRequest,
)
from invlearn.inference.serving.service_page import page
from invlearn.inference.serving.validation_errors import misfit
from invlearn.runtime.environment import require_extra
from invlearn.runtime.errors import ConfigError

PACKAGES = ("fastapi", "uvicorn")
"""What the extra `serve` installs."""
LEAST_TOKEN = 16
"""Characters of a token."""
OPEN_PATHS = frozenset({"/health", "/docs", "/openapi.json"})
"""Paths that need no token; they tell nothing of the data."""
NOWHERE = {
    404: "there is nothing at this path; /docs has all of them",
    405: "this path takes no such request; /docs has the right one",
}
"""What is said where no route is."""
Answer = TypeVar("Answer")


def check_packages() -> None:
    """Refuse to begin without the extra `serve` (`ConfigError`)."""
    require_extra("serve", PACKAGES, "a service")


def check_token(token: str | None) -> None:
    """Refuse a token that could be guessed.

    Raises:
        ConfigError: It is too short.
    """
    if token is not None and len(token) < LEAST_TOKEN:
        raise ConfigError(
            f"a token needs at least {LEAST_TOKEN} characters; found {len(token)}; make one with "
            "`openssl rand -hex 32`"
        )


def create_app(recommender: Recommender, *, token: str | None = None) -> Any:
    """Make the ASGI application of a run: `POST /score`, `POST /recommend`, `GET /health`.

    The model works in one thread of its own, one request at a time, so that others are still heard
    meanwhile. `/openapi.json` describes everything, and `/docs` shows it without a script.

    Args:
        recommender: The run, made ready (`Recommender.of`).
        token: What requests must bring as `Authorization: Bearer TOKEN`, 16 characters or more;
            without one, only requests to `localhost`, `127.0.0.1` or `::1` are answered.

    Raises:
        ConfigError: The extra `serve` is not installed, or the token is too short.
    """
    check_packages()
    check_token(token)
    from fastapi import FastAPI, Request
    from fastapi.responses import HTMLResponse

    answering, worker = Answering(recommender), ThreadPoolExecutor(1, "model")
    app = FastAPI(
        title="invlearn",
        version=version("invlearn"),
        description="Scores pairs and recommends items by one run.",
        docs_url=None,
        redoc_url=None,
    )
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": Problem, "description": why}
        for status, why in (
            (400, "The body is no JSON, or without a token the host is not this machine"),
            (401, "The token is missing or wrong"),
            (408, "The body came too slowly"),
            (413, "The body is too long"),
            (422, "The request does not fit"),
        )
        if status != 401 or token is not None
    }

    async def worked(answer: Callable[[Any], Answer], request: object) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(worker, answer, request)

    @app.post("/score", responses=refusals)
    async def score(request: ScoreRequest) -> ScoreAnswer:
        """Logits of pairs; they are not calibrated, so no function of them is a probability yet."""
        return await worked(answering.score, request)

    @app.post("/recommend", responses=refusals)
    async def recommend(request: RecommendRequest) -> RecommendAnswer:
        """The items that come first for each user."""
        return await worked(answering.recommend, request)

    @app.get("/health")
    async def health() -> Health:
        """That the service is up; needs no token."""
        return answering.health()

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        host = request.headers.get("host", "localhost")
        return HTMLResponse(page(app.openapi(), host=host, needs_token=token is not None))

    _say_problems(app)
    app.add_middleware(ShortBodies, max_bytes=MAX_BODY_BYTES)
    # outside of the other, so that no body of a stranger is read
    if token is None:
        app.add_middleware(OwnNameNeeded)
    else:
        app.add_middleware(TokenNeeded, token=token, open_paths=OPEN_PATHS)
    return app


def _say_problems(app: Any) -> None:
    """Answer whatever is wrong with one sentence."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    def said(status: int, sentence: str, headers: Any = None) -> JSONResponse:
        readable = sentence.encode("utf-8", "replace").decode()
        return JSONResponse({"error": readable[:500]}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def unfit(_: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()
        if found[0]["type"] == "json_invalid":
            place = found[0]["loc"][-1]
            return said(400, f"the body is no JSON from character {place} on; send an object")
        return said(422, misfit(found))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        if error.detail == "There was an error parsing the body":  # nested too deep, say
            return said(400, "the body is no JSON that can be read; send an object")
        sentence = NOWHERE.get(error.status_code, str(error.detail))
        return said(error.status_code, sentence, error.headers)

    del unfit, refused  # the decorators keep them
