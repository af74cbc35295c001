"""Values that begin alike: all are found, however many there are."""

import random
from base64 import b64encode
from collections.abc import Iterator

from backend.services.redaction import beginnings as beginnings_module
from backend.services.redaction.patterns import SecretPatterns, marker


def _places(text: str, value: str) -> Iterator[tuple[int, int]]:
    place = text.find(value)
    while place >= 0:
        yield place, place + len(value)
        place = text.find(value, place + 1)


def _expected(values: dict[str, str], text: str) -> tuple[str, dict[str, int]]:
    """What comes of the text, by the simplest way to find it."""
    hits = sorted(
        (start, -end, key) for key, value in values.items() for start, end in _places(text, value)
    )
    parts: list[str] = []
    counted: dict[str, int] = {}
    last = 0
    while hits:
        start, end, key = hits[0][0], -hits[0][1], hits[0][2]
        keys = set()
        while hits and hits[0][0] < end:
            _, negative, other = hits.pop(0)
            end = max(end, -negative)
            keys.add(other)
        parts += text[last:start], marker(key)
        last = end
        for one in keys:
            counted[one] = counted.get(one, 0) + 1
    return "".join([*parts, text[last:]]), counted


def test_each_of_many_values_that_begin_alike_is_found() -> None:
    rng = random.Random(3)  # noqa: S311 - no secret
    for _ in range(60):
        begin = "a" * 12
        values = {
            f"K{number}": begin + "".join(rng.choices("ab", k=rng.randrange(12)))
            for number in range(40)
        }
        patterns = SecretPatterns(values)
        text = "-".join("".join(rng.choices("ab", (9, 1), k=60)) for _ in range(20))
        assert patterns.redact(text) == _expected(values, text)


def test_each_of_many_long_values_that_begin_alike_is_found() -> None:
    rng = random.Random(4)  # noqa: S311 - no secret
    begin, end = ("".join(rng.choices("abcdefgh", k=length)) for length in (1_000, 600))
    values = {f"K{number}": f"{begin}{number:04}{end}" for number in range(100)}
    patterns = SecretPatterns(values)
    for key in ("K0", "K77", "K99"):
        encoded = b64encode(b"??" + values[key].encode()).decode()
        found, hits = patterns.redact(f"<{values[key]}> {encoded} {begin}")
        assert hits == {key: 2}
        assert found.count(marker(key)) == 2
        assert found.endswith(begin)


def test_many_values_that_begin_alike_take_no_longer_at_each_place() -> None:
    # Comparing each at each place would take minutes.
    ends = ("".join(map(chr, (98 + n % 20, 98 + n // 20 % 20, 98 + n // 400))) for n in range(8000))
    patterns = SecretPatterns({"K": "\n".join("a" * 12 + end for end in ends)})
    text = "a" * 20_000
    assert patterns.redact(text) == (text, {})
    assert patterns.redact(f"{text}bcd")[1] == {"K": 1}
    # Each of these is a part of the next one.
    patterns = SecretPatterns({"K": "\n".join("a" * length for length in range(12, 500))})
    assert patterns.redact(f"{text}b{text}")[0] == "[secret:K]b[secret:K]"


def test_one_value_of_many_secrets_is_found_for_each() -> None:
    values = {f"K{number}": "one value for all" for number in range(1_000)}
    found, hits = SecretPatterns(values).redact("one value for all, " * 500)
    assert found == "[secret:K0], " * 500
    assert hits == dict.fromkeys(values, 500)


def test_the_rest_of_a_text_goes_if_too_many_long_values_begin_in_it() -> None:
    count = beginnings_module._MOST_CHECKS // 2
    values = {f"K{number}": "ab" * 300 + f"{number:04}" for number in range(count)}
    patterns = SecretPatterns(values)
    once, thrice = "ab" * 64 + " ", ("ab" * 64 + " ") * 3
    assert patterns.redact(f"<{once}>") == (f"<{once}>", {})
    found, hits = patterns.redact(f"<{thrice}>")
    assert found == f"<{once * 2}[secret:K0]"
    assert hits == {"K0": 1}
