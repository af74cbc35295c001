"""Master keys and their rotation."""

from strongroom._async.resource import Resource
from strongroom._async.transport import parsed
from strongroom._operations import operation
from strongroom._values import UNSET, Unset, fields
from strongroom.models import KeyStatus, RotationProgress


class Keys(Resource):
    """`client.keys`."""

    @operation("getKeys")
    async def get(self) -> KeyStatus:
        """What is encrypted under which master key, and the progress of the latest rotation."""
        response = await self._transport.get("/api/keys")
        return parsed(KeyStatus, response)

    @operation("rotateKeys")
    async def rotate(
        self, *, reencrypt: bool | Unset = UNSET, idempotency_key: str | None = None
    ) -> RotationProgress:
        """Wrap every key under the first configured master key, while serving. An interrupted
        rotation goes on when the server starts again."""
        response = await self._transport.post(
            "/api/keys/rotate", fields(reencrypt=reencrypt), idempotency_key=idempotency_key
        )
        return parsed(RotationProgress, response)
