"""A report as one HTML file that opens without a network and runs only its own scripts.

The template escapes all text except scripts, styles, and the JSON of charts, in which no tag can
begin. A content security policy allows the two scripts of the page by their digests, and no
request. Vega interprets its expressions, so the page needs no `eval`.
"""

import json
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from invlearn.reporting.blocks import Block, Page
from invlearn.reporting.charts import CONFIG

HERE = Path(__file__).parent
SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""The part of the bundle that the page uses."""
SHAPES = {
    "circle": "M0-5.5A5.5 5.5 0 1 1 0 5.5A5.5 5.5 0 1 1 0-5.5Z",
    "square": "M-5-5H5V5H-5Z",
    "triangle-up": "M0-6L6 5H-6Z",
    "diamond": "M0-7L6 0L0 7L-6 0Z",
    "triangle-down": "M0 6L6-5H-6Z",
    "cross": "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
    "triangle-right": "M6 0L-5 6V-6Z",
}
"""SVG outlines of the shapes in charts, for the marks of the page itself."""


def rendered(page: Page) -> str:
    """Return the page as HTML."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = [in_script(code) for code in (_bundle(), _file("page.js"))]
    return environment.get_template("template.html").render(
        page=page,
        kind_of=_kind_of,
        looks={one.name: one for one in page.series},
        shapes=SHAPES,
        scripts=scripts,
        digests=[digest(script) for script in scripts],
        style=_file("style.css"),
        config=CONFIG,
        as_json=as_json,
    )


def as_json(value: Any) -> str:
    r"""Return JSON that is safe within a script element, for any text.

    Example:
        >>> as_json({"run": "</script>"})
        '{"run": "\\u003c/script>"}'
    """
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def in_script(code: str) -> str:
    """Return code that is safe within a script element: it cannot end the element."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def digest(code: str) -> str:
    """Return the digest of a script for a content security policy."""
    return f"sha256-{b64encode(sha256(code.encode()).digest()).decode()}"


@cache
def _bundle() -> str:
    """Return Vega, Vega-Lite and Vega-Embed as one script; building it takes seconds."""
    import vl_convert

    return vl_convert.javascript_bundle(SNIPPET)


def _kind_of(block: Block) -> str:
    return type(block).__name__


def _file(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
