"""FastAPI's documentation page, with its scripts and styles served by this process."""

from base64 import b64encode
from hashlib import sha256
from typing import Any

STATIC_PATH = "/docs/static"
FILES = tuple(
    f"{STATIC_PATH}/{name}" for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png")
)
"""Script, style sheet and icon of the page, from the package `fastapi-offline`."""


def add_docs_page(app: Any) -> None:
    """Serve the documentation page at `/docs`; it needs no network.

    The page's Content-Security-Policy allows the service's own files and the page's one inline
    script, by its hash. The browser blocks every other script and every other host.

    Args:
        app: A FastAPI application.
    """
    from fastapi.openapi.docs import get_swagger_ui_html
    from fastapi.staticfiles import StaticFiles

    script, style, icon = FILES
    page = get_swagger_ui_html(
        openapi_url=app.openapi_url,
        title="invlearn service",
        swagger_js_url=script,
        swagger_css_url=style,
        swagger_favicon_url=icon,
        swagger_ui_parameters={"validatorUrl": None},  # do not send the description to swagger.io
    )
    inline = bytes(page.body).partition(b"<script>")[2].partition(b"</script>")[0]
    digest = b64encode(sha256(inline).digest()).decode()
    page.headers["content-security-policy"] = (
        f"default-src 'self'; script-src 'self' 'sha256-{digest}'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    async def docs(_: object) -> object:
        return page

    app.add_route("/docs", docs, include_in_schema=False)
    app.mount(STATIC_PATH, StaticFiles(packages=[("fastapi_offline", "static")]))
