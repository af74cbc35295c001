"""Bodies that their sender has signed: what comes out is what was signed, or nothing."""

import hashlib
import hmac
import re

from pydantic import SecretStr

from backend.errors import BadSignature

_SIGNATURE = re.compile(r"sha256=([0-9a-f]{64})")


def claimed_mac(signature: str | None) -> str:
    """The HMAC that a header claims as `sha256=` and lower-case hex. Raises `BadSignature` when
    there is no header or it has another form."""
    form = _SIGNATURE.fullmatch(signature) if signature is not None else None
    if form is None:
        raise BadSignature
    return form[1]


class SignedBody:
    """Takes a body in piece by piece, and gives it out only if its signature is right."""

    def __init__(self, secret: SecretStr, claimed: str) -> None:
        """`claimed` is what `claimed_mac` found."""
        self._claimed = claimed
        self._mac = hmac.new(secret.get_secret_value().encode(), digestmod=hashlib.sha256)
        self._body = bytearray()

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        self._mac.update(piece)
        self._body += piece

    def verified(self) -> bytearray:
        """The whole body. Raises `BadSignature`, in the same time wherever the difference is."""
        if not hmac.compare_digest(self._mac.hexdigest(), self._claimed):
            raise BadSignature
        return self._body
