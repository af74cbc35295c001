"""Which of two media types a client prefers."""


def prefers_plain_text(accept: str | None) -> bool:
    """Whether `Accept` gives `text/plain` a higher quality than JSON (RFC 9110, 12.5.1). An answer
    that depends on it must have `Vary: Accept`."""
    if not accept:
        return False
    return _quality(accept, "text", "plain") > _quality(accept, "application", "json")


def _quality(accept: str, kind: str, subtype: str) -> float:
    """The quality of a media type: that of the most specific range that includes it."""
    ranges = {f"{kind}/{subtype}": 3, f"{kind}/*": 2, "*/*": 1}
    found = (0, 0.0)
    for item in accept.split(","):
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        specific = ranges.get(name, 0)
        if specific > found[0]:
            found = (specific, _weight(parameters))
    return found[1]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0
