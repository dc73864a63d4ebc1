"""The page that describes the service: one file of HTML that loads nothing else."""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from json import dumps
from shlex import quote
from typing import Any

from invlearn.runtime.text import counted

Schema = Mapping[str, Any]
"""A JSON schema, or a part of the description that FastAPI makes."""
TYPES = {
    "integer": "whole number",
    "string": "text",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
}
STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 14px/1.45 ui-monospace, monospace }
pre, .wide { overflow-x: auto; border: 1px solid #8886; border-radius: 4px }
pre { padding: .6rem; white-space: pre-wrap }
h2 code { font-size: inherit }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem }
tr + tr > * { border-top: 1px solid #8884 }
td:first-child { white-space: nowrap }
h2 { margin-top: 2.5rem; border-bottom: 2px solid #8886 }
"""


def page(openapi: Schema, *, host: str, needs_token: bool) -> str:
    """Show every route with its fields, their types, limits and defaults, and an example.

    Args:
        openapi: The description that FastAPI makes of the service.
        host: Under which name and port the service was asked, for the examples.
        needs_token: Whether requests must bring a token.
    """
    known = openapi["components"]["schemas"]
    what = escape(openapi["info"]["description"])
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'><title>invlearn service</title>",
        f"<style>{STYLE}</style><h1>invlearn service</h1><p>{what}",
        "The same for programs: <a href=/openapi.json>/openapi.json</a>.</p>",
    ]
    if needs_token:
        parts.append(_words("<p>", "Requests bring the token as `Authorization: Bearer TOKEN`."))
    for path, methods in openapi["paths"].items():
        for method, told in methods.items():
            parts += _route(method.upper(), path, told, known, host, needs_token)
    return "\n".join(parts) + "\n"


def _route(
    method: str, path: str, told: Schema, known: Schema, host: str, needs_token: bool
) -> Iterator[str]:
    yield f"<section><h2><code>{method} {escape(path)}</code></h2>"
    yield _words("<p>", told.get("description", ""))
    sent = told.get("requestBody")
    if sent:
        schema = _resolved(sent["content"]["application/json"]["schema"], known)
        yield "<h3>Request</h3>"
        yield _table(("field", "type", "limits", "default", "meaning"), _asked(schema))
        yield _example(_command(path, schema["examples"][0], host, needs_token))
    else:
        yield _example(f"curl {quote(host + path)}")
    answered = told["responses"]["200"]["content"]["application/json"]["schema"]
    schema = _resolved(answered, known)
    yield "<h3>Answer</h3>"
    yield _table(("field", "type", "meaning"), _answered(schema, known))
    yield _example(dumps(schema["examples"][0]))
    refusals = {s: r["description"] for s, r in told["responses"].items() if s != "200"}
    if refusals:
        yield _words(
            "<p>", 'Anything else is answered by `{"error": "one sentence"}` and a status:'
        )
        yield _table(("status", "when"), refusals.items())
    yield "</section>"


def _asked(schema: Schema) -> Iterator[Sequence[str]]:
    """Rows of a request: name, type, limits, default, meaning of each field."""
    for name, field in schema["properties"].items():
        default = "needed" if name in schema["required"] else dumps(field.get("default"))
        yield f"`{name}`", _type(field), _limits(field), default, field["description"]


def _answered(schema: Schema, known: Schema, prefix: str = "") -> Iterator[Sequence[str]]:
    """Rows of an answer: name, type, meaning of each field, and of those within it."""
    for name, field in schema["properties"].items():
        yield f"`{prefix}{name}`", _type(field), field["description"]
        inner = field.get("items", {})
        if "$ref" in inner:
            yield from _answered(_resolved(inner, known), known, f"{prefix}{name}[].")


def _resolved(schema: Schema, known: Schema) -> Schema:
    return known[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _type(schema: Schema) -> str:
    """A type in words.

    Example:
        >>> _type({"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}})
        'list of whole number or text'
    """
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "prefixItems" in schema:
        return f"[{', '.join(_type(one) for one in schema['prefixItems'])}]"
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    return TYPES[schema.get("type", "object")]


def _limits(schema: Schema) -> str:
    """Limits in words, those of what is within included.

    Example:
        >>> _limits({"items": {"type": "string", "maxLength": 9}, "maxItems": 1200})
        'at most 1,200 entries; text of at most 9 characters'
    """
    return "; ".join(dict.fromkeys(_all_limits(schema)))


def _all_limits(schema: Schema) -> Iterator[str]:
    if "maxItems" in schema and "prefixItems" not in schema:
        low = f"{schema['minItems']:,} to " if "minItems" in schema else "at most "
        yield low + counted(schema["maxItems"], "entry", "entries")
    if "maximum" in schema:
        yield f"{schema['minimum']:,.0f} to {schema['maximum']:,.0f}"
    if "maxLength" in schema:
        yield f"text of at most {counted(schema['maxLength'], 'character')}"
    inner = [schema["items"]] if "items" in schema else []
    for one in (*inner, *schema.get("anyOf", ()), *schema.get("prefixItems", ())):
        yield from _all_limits(one)


def _command(path: str, request: object, host: str, needs_token: bool) -> str:
    """A request as one types it."""
    token = " \\\n  -H 'authorization: Bearer TOKEN'" if needs_token else ""
    return (
        f"curl {quote(host + path)} -H 'content-type: application/json'{token} \\\n"
        f"  -d {quote(dumps(request))}"
    )


def _example(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def _table(heads: Sequence[str], rows: Any) -> str:
    head = "".join(f"<th scope=col>{name}" for name in heads)
    body = "".join(f"<tr>{''.join(_words('<td>', cell) for cell in row)}" for row in rows)
    return f"<div class=wide tabindex=0><table><tr>{head}{body}</table></div>"


def _words(tag: str, text: str) -> str:
    """Text within a tag, what stands between backticks as code."""
    return tag + re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
