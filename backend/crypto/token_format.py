"""The text of a token: `sr_<id>_<secret><checksum>`, and of a session: `srs_…`.

The secret is 43 characters of base 62, which hold 256 random bits. The checksum is the CRC-32 of
all characters before it, in 6 characters of base 62. It detects mistyped tokens, and lets scanners
of source code recognise leaked ones. It has no part in security.
"""

import secrets
import string
import zlib

TOKEN_PREFIX, SESSION_PREFIX = "sr", "srs"
_ALPHABET = string.digits + string.ascii_letters
_SECRET_LENGTH = 43
_CHECKSUM_LENGTH = 6


def new_secret() -> str:
    """256 random bits as the secret of a token or a session."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))


def token_text(id: int, secret: str, prefix: str = TOKEN_PREFIX) -> str:
    """The token, or with another prefix the session, with this id and secret."""
    body = f"{prefix}_{id}_{secret}"
    return body + _checksum(body)


def parse_token(token: str, prefix: str = TOKEN_PREFIX) -> tuple[int, str] | None:
    """The id and the secret of a token, or of a session with its prefix; `None` when it is mistyped
    or anything else."""
    body, checksum = token[:-_CHECKSUM_LENGTH], token[-_CHECKSUM_LENGTH:]
    found, _, rest = body.partition("_")
    number, _, secret = rest.partition("_")
    if (
        found != prefix
        or not (number.isascii() and number.isdigit() and len(number) <= 18)
        or len(secret) != _SECRET_LENGTH
        or not (secret.isascii() and secret.isalnum())
        or _checksum(body) != checksum
    ):
        return None
    return int(number), secret


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    text = ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        text = _ALPHABET[digit] + text
    return text
