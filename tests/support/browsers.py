"""Browsers that sign in: their cookies, and the headers of their own pages."""

from typing import Final

import httpx
from fastapi import FastAPI

from tests.support.clients import token_of_first_start

PERMITTED: Final = "https://app.example.com"
OWN: Final = "http://strongroom.test"
MEANT: Final = {"Origin": OWN, "X-Strongroom-Request": "1"}
"""The headers of an own page that means to change something."""


def admin_token(application: FastAPI) -> str:
    """The token of the first start."""
    return token_of_first_start(application.state.settings)


async def sign_in(browser: httpx.AsyncClient, token: str) -> dict[str, str]:
    """The header with the cookie of a new session."""
    response = await browser.post("/api/session", json={"token": token})
    assert response.status_code == 204, response.text
    return {"Cookie": response.headers["set-cookie"].partition(";")[0]}
