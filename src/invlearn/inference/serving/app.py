"""The HTTP application of a run: its routes, and its error responses."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from json import dumps
from typing import Any, TypeVar

from invlearn.config.validation_errors import describe
from invlearn.inference.recommend.recommendation import Recommender
from invlearn.inference.serving import schemas
from invlearn.inference.serving.docs_page import FILES, add_docs_page
from invlearn.inference.serving.handlers import Handlers
from invlearn.inference.serving.middleware import AccessControl, BodyLimit
from invlearn.runtime.environment import require_extra
from invlearn.runtime.errors import ConfigError

PACKAGES = ("fastapi", "fastapi_offline", "uvicorn")
"""Packages of the extra `serve`."""
MIN_TOKEN_CHARACTERS = 16
OPEN_PATHS = frozenset({"/health", "/docs", "/openapi.json", *FILES})
"""Paths that need no token; they reveal nothing about the data."""
MODELS = {"/score": schemas.ScoreRequest, "/recommend": schemas.RecommendRequest}
"""Request schema by path."""
STATUSES = {
    400: "The body is not JSON, or there is no token and the host is not this machine",
    401: "The token is missing or wrong",
    408: "The body took too long to arrive",
    413: "The body is too long",
    422: "The request does not fit the schema",
}
"""Error responses, as the documentation page describes them."""
NO_ROUTE = {
    404: "there is nothing at this path; /docs lists all paths",
    405: "this path does not accept this method; /docs shows the right one",
}
Answer = TypeVar("Answer")


def check_packages() -> None:
    """Check that the extra `serve` is installed (`ConfigError`)."""
    require_extra("serve", PACKAGES, "a service")


def check_token(token: str | None) -> None:
    """Check that a token is long enough not to be guessed (`ConfigError`)."""
    if token is not None and len(token) < MIN_TOKEN_CHARACTERS:
        raise ConfigError(
            f"a token needs at least {MIN_TOKEN_CHARACTERS} characters; found {len(token)}; make "
            "one with `openssl rand -hex 32`"
        )


def create_app(recommender: Recommender, *, token: str | None = None) -> Any:
    """Create the ASGI application of a run: `POST /score`, `POST /recommend`, `GET /health`.

    The model runs in one thread of its own, one request at a time, so the server stays responsive.
    `/openapi.json` describes the service, and `/docs` is a page of it.

    Args:
        recommender: The run, loaded by `Recommender.of`.
        token: Token that requests must send as `Authorization: Bearer TOKEN`, 16 characters or
            more. Without one, only requests to `localhost`, `127.0.0.1` or `::1` are answered.

    Raises:
        ConfigError: The extra `serve` is not installed, or the token is too short.
    """
    check_packages()
    check_token(token)
    from fastapi import FastAPI

    app = FastAPI(
        title="invlearn",
        version=version("invlearn"),
        description="Scores pairs and recommends items with one trained run.",
        docs_url=None,
        redoc_url=None,
    )
    _add_routes(app, Handlers(recommender), has_token=token is not None)
    add_docs_page(app)
    _add_error_responses(app)
    app.add_middleware(BodyLimit, max_bytes=schemas.MAX_BODY_BYTES)
    # Added last, so it runs first: the body of an unauthorized request is not read.
    app.add_middleware(AccessControl, token=token, open_paths=OPEN_PATHS)
    return app


def _add_routes(app: Any, handlers: Handlers, *, has_token: bool) -> None:
    """Add the routes; the model works in a thread of its own."""
    from fastapi import Depends
    from fastapi.security import HTTPBearer

    worker = ThreadPoolExecutor(1, "model")
    options: Any = {
        "responses": {
            status: {"model": schemas.Problem, "description": why}
            for status, why in STATUSES.items()
            if status != 401 or has_token
        },
        # `AccessControl` checks the token; this adds the button "Authorize" to the page.
        "dependencies": [Depends(HTTPBearer(auto_error=False))] if has_token else [],
    }

    async def run(handler: Callable[[Any], Answer], request: object) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(worker, handler, request)

    @app.post("/score", **options)
    async def score(request: schemas.ScoreRequest) -> schemas.ScoreAnswer:
        """Score pairs. Scores are uncalibrated logits: do not read them as probabilities."""
        return await run(handlers.score, request)

    @app.post("/recommend", **options)
    async def recommend(request: schemas.RecommendRequest) -> schemas.RecommendAnswer:
        """Return the highest-scoring items of each user."""
        return await run(handlers.recommend, request)

    @app.get("/health")
    async def health() -> schemas.Health:
        """Report that the service is up; needs no token."""
        return handlers.health()

    del score, recommend, health  # the decorators keep them


def _add_error_responses(app: Any) -> None:
    """Answer every error with `{"error": sentence}`."""
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    def respond(status: int, sentence: str, headers: Any = None) -> JSONResponse:
        readable = sentence.encode("utf-8", "replace").decode()
        return JSONResponse({"error": readable[:500]}, status, headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return respond(*_describe_request_error(error.errors()[0], request.url.path))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        if error.detail == "There was an error parsing the body":  # for example nested too deep
            return respond(400, "the body is not readable JSON; send a JSON object")
        sentence = NO_ROUTE.get(error.status_code, str(error.detail))
        return respond(error.status_code, sentence, error.headers)

    del invalid, refused  # the decorators keep them


def _describe_request_error(error: Any, path: str) -> tuple[int, str]:
    """Return the status and the sentence for a validation error of a request."""
    place = error["loc"][1:]
    if error["type"] == "json_invalid":
        return 400, f"the body is not JSON from character {place[-1]} on; send a JSON object"
    if isinstance(error["input"], bytes):
        return 422, "the body is not marked as JSON; send content-type: application/json"
    if not place:
        return 422, "the body must be a JSON object; /docs shows one for each request"
    return 422, describe(error | {"loc": place}, MODELS.get(path), show=dumps)
