"""Request and response schemas of the service."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt

MAX_PAIRS, MAX_USERS, MAX_K = 10_000, 256, 1_000
"""Most pairs, users and items per list in one request."""
MAX_ID_CHARACTERS = 256
MAX_BODY_BYTES = 2 << 20
"""Longest request body."""


def _whole(value: object) -> object:
    """Return a float without a fraction as an integer, as JSON means it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _id(value: object) -> object:
    value = _whole(value)
    if isinstance(value, str) and len(value) <= MAX_ID_CHARACTERS:
        value.encode()  # refuses half of a surrogate pair
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(
        f"a whole number or a text of at most {MAX_ID_CHARACTERS} characters is needed"
    )


def _pair(value: object) -> object:
    if isinstance(value, list | tuple) and len(value) == 2:
        return value
    raise ValueError("a list of two ids is needed, a user and an item")


Id = Annotated[int | Annotated[str, Field(max_length=MAX_ID_CHARACTERS)], BeforeValidator(_id)]
"""Original id of a user or an item, as the dataset has it, or the same as text."""
Pair = Annotated[tuple[Id, Id], BeforeValidator(_pair)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def _example(**fields: Any) -> ConfigDict:
    """Configure the example that the documentation page shows."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class ScoreRequest(_Closed):
    """Pairs to score."""

    model_config = _example(pairs=[["u0000001", 17], ["u0000001", 18]])

    pairs: list[Pair] = Field(min_length=1, max_length=MAX_PAIRS)
    """User and item of each pair."""


class ScoreAnswer(_Closed):
    """Logits of pairs."""

    model_config = _example(logits=[0.8125, None], unknown_pairs=1)

    logits: list[float | None]
    """One per pair, in the order of the request; null if the user or the item is unknown."""
    unknown_pairs: int
    """Number of nulls."""


class RecommendRequest(_Closed):
    """Users to recommend items to."""

    model_config = _example(users=["u0000001", "u0000002"], k=2, exclude_items=[17])

    users: list[Id] = Field(min_length=1, max_length=MAX_USERS)
    """Users that get a list."""
    k: Annotated[StrictInt, Field(ge=1, le=MAX_K), BeforeValidator(_whole)] = 10
    """Length of the lists."""
    exclude_seen: Annotated[bool, Field(strict=True)] = True
    """Exclude the pairs that `--leave-out` named when the service was started."""
    items: list[Id] | None = Field(default=None, min_length=1, max_length=MAX_PAIRS)
    """Recommend only these."""
    exclude_items: list[Id] = Field(default=[], max_length=MAX_PAIRS)
    """Never recommend these."""


class ItemList(_Closed):
    """The highest-scoring items of one user."""

    user: Id
    """Id as in the request."""
    source: str | None
    """`model`, the name of the fallback, or null if there is no list for this user."""
    items: list[Id]
    """Original ids, best first; fewer than `k` if fewer are left."""
    scores: list[float]
    """Score of each item: a logit, or a count if the source is `popularity`."""


class RecommendAnswer(_Closed):
    """Lists of items."""

    model_config = _example(
        lists=[
            {"user": "u0000001", "source": "model", "items": [18, 4], "scores": [1.25, 0.5]},
            {"user": "u0000002", "source": "item-rate", "items": [4, 18], "scores": [0.75, 0.25]},
        ],
        unknown_users=1,
        unknown_items=0,
    )

    lists: list[ItemList]
    """One per user, in the order of the request."""
    unknown_users: int
    """Users that the run does not know."""
    unknown_items: int
    """Ids in `items` and `exclude_items` that the run does not know; they have no effect."""


class Health(_Closed):
    """State of the service, and counts since it started."""

    model_config = _example(
        status="ok", version="0.1.0", requests=12, unknown_pairs=0, unknown_users=1, unknown_items=0
    )

    status: Literal["ok"] = "ok"
    """Always `ok`: a service that is down does not answer."""
    version: str
    """Version of invlearn."""
    requests: int
    """Answered requests for scores or lists."""
    unknown_pairs: int
    """Requested pairs without a score."""
    unknown_users: int
    """Requested users that the run does not know."""
    unknown_items: int
    """Ids in `items` and `exclude_items` that the run does not know."""


class Problem(_Closed):
    """Why a request was refused."""

    error: str
    """One sentence."""
