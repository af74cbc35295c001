"""Tokens, and sessions of browsers."""

from collections.abc import Sequence
from datetime import datetime

from strongroom._async.pages import Pages
from strongroom._async.resource import Resource
from strongroom._async.transport import parsed
from strongroom._operations import operation
from strongroom._retrying import Repeat
from strongroom._values import UNSET, Secret, Unset, encode, fields, filters
from strongroom.models import Scope, TokenCreated, TokenIdentity, TokenInfo, TokenList


class Tokens(Resource):
    """`client.tokens`."""

    @operation("createToken")
    async def create(
        self,
        *,
        name: str,
        scopes: Sequence[Scope],
        expires_at: datetime | Unset | None = UNSET,
        expires_in: str | int | Unset | None = UNSET,
        project_ids: Sequence[int] | Unset | None = UNSET,
        idempotency_key: str | None = None,
    ) -> TokenCreated:
        """Create a token. Only this answer has it, as `token`, which its `repr` does not show."""
        response = await self._transport.post(
            "/api/tokens",
            fields(
                name=name,
                scopes=scopes,
                expires_at=expires_at,
                expires_in=expires_in,
                project_ids=project_ids,
            ),
            idempotency_key=idempotency_key,
        )
        return parsed(TokenCreated, response)

    @operation("getToken")
    async def get(self, token_id: int) -> TokenInfo:
        """A token, even when it is revoked, without its secret part."""
        response = await self._transport.get(f"/api/tokens/{token_id}")
        return parsed(TokenInfo, response)

    @operation("listTokens")
    def list(
        self, *, revoked: bool | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Pages[TokenInfo, TokenList]:
        """Tokens, newest first, without their secret part."""
        return Pages(
            self._transport,
            "/api/tokens",
            filters(revoked=revoked, limit=limit, cursor=cursor),
            TokenList,
            lambda page: page.tokens,
        )

    @operation("revokeToken")
    async def delete(self, token_id: int) -> None:
        """Revoke a token, immediately and permanently."""
        await self._transport.change("DELETE", f"/api/tokens/{token_id}")

    @operation("getMe")
    async def me(self) -> TokenIdentity:
        """What the token of this client is: its name, scopes, projects and expiry."""
        response = await self._transport.get("/api/me")
        return parsed(TokenIdentity, response)

    @operation("createSession")
    async def create_session(self, token: Secret) -> str:
        """Begin a session for a browser, which may do what this token may, for 12 hours at most.
        Returns its cookie, as `name=value`. The client itself has no session."""
        response = await self._transport.send(
            "POST",
            "/api/session",
            content=encode(fields(token=token)),
            headers={"Content-Type": "application/json"},
            repeat=Repeat.DOUBLE,
        )
        return str(response.headers.get("set-cookie", "")).partition(";")[0]

    @operation("getSession")
    async def get_session(self, cookie: str) -> TokenIdentity:
        """What the session with this cookie may do."""
        headers = self._with_cookie(cookie)
        return parsed(TokenIdentity, await self._transport.get("/api/session", headers=headers))

    @operation("endSession")
    async def end_session(self, cookie: str) -> None:
        """End the session with this cookie at once."""
        await self._transport.send("DELETE", "/api/session", headers=self._with_cookie(cookie))

    def _with_cookie(self, cookie: str) -> dict[str, str]:
        # The last two say that no strange page sends this.
        return {
            "Cookie": cookie,
            "Origin": self._transport.origin,
            "X-Strongroom-Request": "1",
        }
