"""Pages of other origins: those that are configured may call the service from a browser."""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from backend.dependencies import problem
from backend.request_ids import current_request_id


class CrossOrigin(CORSMiddleware):
    """Answers preflights, and lets pages of `origins` read the answers of `app`."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Location", "Retry-After"],
            max_age=3600,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a preflight; a problem document when the page may not do this."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        return problem(
            current_request_id() or "",
            "bad_request",
            "pages of this origin may not send such a request: see STRONGROOM_CORS_ORIGINS",
            headers={"Vary": answer.headers["vary"]},
        )
