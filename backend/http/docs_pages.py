"""The OpenAPI document, and the page that shows it."""

import base64
import hashlib

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from backend.http.strict_query import StrictQuery

DOCUMENT_PATH, PAGE_PATH = "/openapi.json", "/docs"

# Users type their token into the page, so it loads exactly these bytes and no others.
_SWAGGER_UI = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5.35.0"
_BUNDLE = f"{_SWAGGER_UI}/swagger-ui-bundle.js"
_BUNDLE_DIGEST = "sha384-gjRm0bEPMeTmMh5jT2cHccIwCUZSTd8YC+j0d0sXw0MdGEfScduGpSyF3ZSSLkX9"
_STYLE = f"{_SWAGGER_UI}/swagger-ui.css"
_STYLE_DIGEST = "sha384-WlYgdmXYOOBWL5apwjDEZwN+U3HmXSSu5R6V5aGxEcf7z+KuRNwBhoxKVN1i3D5I"
_SCRIPT = (
    f'SwaggerUIBundle({{url: "{DOCUMENT_PATH}", dom_id: "#swagger-ui", deepLinking: true, '
    "validatorUrl: null})"
)
_PAGE = f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Strongroom: the HTTP interface</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{_STYLE}" integrity="{_STYLE_DIGEST}" crossorigin="anonymous">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{_BUNDLE}" integrity="{_BUNDLE_DIGEST}" crossorigin="anonymous"></script>
<script>{_SCRIPT}</script>
</body>
</html>
"""
_SCRIPT_DIGEST = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_BUNDLE} 'sha256-{_SCRIPT_DIGEST}'",
        # Swagger UI sets styles of elements.
        f"style-src {_STYLE} 'unsafe-inline'",
        "img-src data:",
        # The page sends its calls to this service.
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


def add_docs(app: FastAPI) -> tuple[str, str]:
    """Add the document and the page after all other routes, and return their paths.

    FastAPI would add its own first, and every request would be matched against them.
    """

    no_query = StrictQuery()

    async def document(request: Request) -> Response:
        no_query.check(request)
        return JSONResponse(app.openapi())

    async def page(_: Request) -> Response:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})

    app.router.routes.append(Route(DOCUMENT_PATH, document, include_in_schema=False))
    app.router.routes.append(Route(PAGE_PATH, page, include_in_schema=False))
    return DOCUMENT_PATH, PAGE_PATH
