"""Signed request bodies: a body is returned only if its signature is right."""

import hashlib
import hmac
import re

from pydantic import SecretStr

from backend.errors import BadSignature

_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")


def claimed_mac(signature: str | None) -> str:
    """The HMAC in a header of the form `sha256=` and lower-case hex. Raises `BadSignature` when
    the header is missing or has another form."""
    form = _SIGNATURE.fullmatch(signature) if signature is not None else None
    if form is None:
        raise BadSignature
    return form[1]


class SignedBody:
    """Collects a body piece by piece, and returns it only if its signature is right."""

    def __init__(self, secret: SecretStr, claimed: str) -> None:
        """`claimed` is the result of `claimed_mac`."""
        self._claimed = claimed
        self._mac = hmac.new(secret.get_secret_value().encode(), digestmod=hashlib.sha256)
        self._body = bytearray()

    def add(self, piece: bytes) -> None:
        """Add the next piece."""
        self._mac.update(piece)
        self._body += piece

    def verified(self) -> bytearray:
        """The whole body. Raises `BadSignature`; the comparison takes constant time."""
        if not hmac.compare_digest(self._mac.hexdigest(), self._claimed):
            raise BadSignature
        return self._body
