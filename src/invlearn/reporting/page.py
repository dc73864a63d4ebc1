"""A report as one HTML file that opens without a network and runs nothing but its own scripts.

Text from data is escaped by the template; data for charts travel as JSON in which no tag can
begin. A content security policy allows the two scripts of the page by their digests, and no
request to anywhere. Vega interprets its expressions, so that the page may forbid `eval`.
"""

import json
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from invlearn.reporting.blocks import Block, Chart, Charts, Page
from invlearn.reporting.charts import CONFIG
from invlearn.reporting.plots import require

HERE = Path(__file__).parent
SNIPPET = "window.vegaEmbed = vegaEmbed;"
"""All of the bundle that the page uses."""
SHAPES = {
    "circle": "M0-5.5A5.5 5.5 0 1 1 0 5.5A5.5 5.5 0 1 1 0-5.5Z",
    "square": "M-5-5H5V5H-5Z",
    "triangle-up": "M0-6L6 5H-6Z",
    "diamond": "M0-7L6 0L0 7L-6 0Z",
    "triangle-down": "M0 6L6-5H-6Z",
    "cross": "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
    "triangle-right": "M6 0L-5 6V-6Z",
}
"""Outlines of the shapes that charts draw, for the page's own marks."""


def rendered(page: Page) -> str:
    """The page in HTML.

    Raises:
        ConfigError: The extra `report` is not installed.
    """
    require()
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    bundle = in_script(_bundle())
    script = in_script((HERE / "page.js").read_text(encoding="utf-8"))
    charts = {id(chart): f"chart-{n}" for n, chart in enumerate(_charts(page))}
    data = {
        "config": CONFIG,
        "charts": {charts[id(chart)]: chart.spec for chart in _charts(page)},
    }
    return environment.get_template("template.html").render(
        page=page,
        addresses=charts,
        kind_of=_kind_of,
        looks={one.name: one for one in page.series},
        shapes=SHAPES,
        identity=id,
        scripts=[Markup(bundle), Markup(script)],
        digests=[digest(bundle), digest(script)],
        style=Markup((HERE / "style.css").read_text(encoding="utf-8")),
        data=Markup(as_json(data)),
    )


def as_json(value: Any) -> str:
    r"""JSON that may stand within a script element, whatever its texts hold.

    Example:
        >>> as_json({"run": "</script>"})
        '{"run": "\\u003c/script>"}'
    """
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")


def in_script(code: str) -> str:
    """Code that may stand within a script element: no text of it can end the element."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def digest(code: str) -> str:
    """A script as a content security policy names it."""
    return f"sha256-{b64encode(sha256(code.encode()).digest()).decode()}"


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed, which take seconds to be put together."""
    import vl_convert

    return vl_convert.javascript_bundle(SNIPPET)


def _kind_of(block: Block) -> str:
    return type(block).__name__


def _charts(page: Page) -> Iterator[Chart]:
    for section in page.sections:
        for block in section.blocks:
            if isinstance(block, Charts):
                yield from (one for one in block.charts if isinstance(one, Chart))
