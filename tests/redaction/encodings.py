"""How programs write a value: each form that redaction has to find."""

import json
import re
from base64 import b64encode, encodebytes, urlsafe_b64encode
from collections.abc import Iterator
from urllib.parse import quote, quote_from_bytes, quote_plus, urlencode

KEY = "API_KEY"
MARKER = f"[secret:{KEY}]"


def forms(value: str) -> Iterator[tuple[str, str]]:
    """The value in each form, with the form's name."""
    yield "as it is", value
    yield "JSON", json.dumps(value)
    yield "JSON in UTF-8", json.dumps(value, ensure_ascii=False)
    yield "JSON of PHP", json.dumps(value).replace("/", r"\/")
    yield "JSON of .NET", _escaped(value)
    yield "JSON in JSON", json.dumps(json.dumps({"value": value}))
    yield "URL", quote(value)
    yield "URL without exceptions", quote(value, safe="")
    yield "URL in lower case", _lower_hex(quote(value, safe=""))
    yield "URL, every byte", "".join(f"%{byte:02x}" for byte in value.encode())
    yield "form", quote_plus(value)
    yield "form with a name", urlencode({"value": value})
    yield "JSON in a URL", quote(json.dumps({"value": value}))
    for alphabet, encode in (("standard", b64encode), ("URL-safe", urlsafe_b64encode)):
        for before in range(4):
            for behind in range(3):
                data = b"\xfb\xff\xfe\xfd"[:before] + value.encode() + b"\xff\xfe"[:behind]
                encoded = encode(data).decode()
                name = f"base64 ({alphabet}) between {before} and {behind} bytes"
                yield name, encoded
                yield f"{name} without padding", encoded.rstrip("=")
    wrapped = encodebytes(b"-" * 50 + value.encode() + b"-" * 80).decode()
    yield "base64 in lines", wrapped
    yield "base64 in lines of Windows", wrapped.replace("\n", "\r\n  ")
    yield (
        "base64 in JSON of PHP",
        json.dumps(b64encode(value.encode()).decode()).replace("/", r"\/"),
    )
    yield "base64 in a form", quote_from_bytes(b64encode(b"?" + value.encode() + b"?"), safe="")


def _escaped(value: str) -> str:
    """JSON with each character escaped that may be."""
    units = value.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex().upper()}" for at in range(0, len(units), 2))


def _lower_hex(text: str) -> str:
    return re.sub("%..", lambda found: found[0].lower(), text)


def traces(value: str) -> list[bytes]:
    """Bytes of which at least one stands in a file that has the value in any of these forms."""
    found = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    found |= {quote(value, safe=""), quote(value), quote_plus(value)}
    data = value.encode()
    for before in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            encoded = encode(b"\0" * before + data).decode().rstrip("=")
            found.add(encoded[before + 1 if before else 0 :][:-1])
    return [text.encode() for text in sorted(found)]
