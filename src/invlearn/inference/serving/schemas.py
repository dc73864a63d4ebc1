"""What the service is asked, and what it answers, as JSON."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

MAX_PAIRS, MAX_USERS, MAX_K = 10_000, 256, 1_000
"""Pairs, users and items of a list that one request may ask for."""
MAX_ID_CHARACTERS = 256
MAX_BODY_BYTES = 2 << 20
"""Length of a request's body."""


def _whole(value: object) -> object:
    """A number without a fraction as an integer, which is what JSON takes it for."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
Id = Annotated[StrictInt, WHOLE] | Annotated[StrictStr, Field(max_length=MAX_ID_CHARACTERS)]
"""Original id of a user or an item, as the dataset has it, or the same as text."""


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def _example(**fields: Any) -> ConfigDict:
    """What the description shows as an example."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class ScoreRequest(_Closed):
    """Pairs to score."""

    model_config = _example(pairs=[["u0000001", 17], ["u0000001", 18]])

    pairs: list[tuple[Id, Id]] = Field(min_length=1, max_length=MAX_PAIRS)
    """User and item of each pair."""


class ScoreAnswer(_Closed):
    """Logits of pairs."""

    model_config = _example(logits=[0.8125, None], unknown_pairs=1)

    logits: list[float | None]
    """One for each pair, in their order; null where the user or the item is unknown."""
    unknown_pairs: int
    """Number of nulls."""


class RecommendRequest(_Closed):
    """Users to recommend items to."""

    model_config = _example(users=["u0000001", "u0000002"], k=2, exclude_items=[17])

    users: list[Id] = Field(min_length=1, max_length=MAX_USERS)
    """Whom to answer."""
    k: Annotated[StrictInt, Field(ge=1, le=MAX_K), WHOLE] = 10
    """Length of the lists."""
    exclude_seen: Annotated[bool, Field(strict=True)] = True
    """Leave out the pairs that the service was started to leave out."""
    items: list[Id] | None = Field(default=None, min_length=1, max_length=MAX_PAIRS)
    """Recommend only these."""
    exclude_items: list[Id] = Field(default=[], max_length=MAX_PAIRS)
    """Never recommend these."""


class ItemList(_Closed):
    """The items that come first for one user."""

    user: Id
    """As it was asked."""
    source: str | None
    """`model`, the name of the fallback, or null if there is no list for this user."""
    items: list[Id]
    """Original ids, best first; fewer than `k` if fewer are left."""
    scores: list[float]
    """Beside `items`: logits, or counts if the source is `popularity`."""


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
    """One for each user, in their order."""
    unknown_users: int
    """Users whom the run does not have."""
    unknown_items: int
    """Ids in `items` and `exclude_items` that the run does not have; they change nothing."""


class Health(_Closed):
    """That the service is up, and what it has done since it started."""

    model_config = _example(
        status="ok", version="0.1.0", requests=12, unknown_pairs=0, unknown_users=1, unknown_items=0
    )

    status: Literal["ok"] = "ok"
    """Always that; a service that is not has no answer."""
    version: str
    """Of invlearn."""
    requests: int
    """Requests for scores or lists that were answered."""
    unknown_pairs: int
    """Pairs among them that had no score."""
    unknown_users: int
    """Users among them whom the run does not have."""
    unknown_items: int
    """Ids in their `items` and `exclude_items` that the run does not have."""


class Problem(_Closed):
    """Why there is no answer."""

    error: str
    """One sentence."""
