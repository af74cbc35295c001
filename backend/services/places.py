"""Places in a feed, as clients send them."""

import re
from typing import NamedTuple, Self

_FORM = re.compile(r"(?:([1-9][0-9]{0,18})-)?(0|[1-9][0-9]{0,18})")
_LARGEST = 2**63 - 1


class Place(NamedTuple):
    """A place behind the entry with an id."""

    epoch: int | None
    """The epoch of the id; `None` for the present one."""
    id: int
    """0 is the place before the oldest entry."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that is written as `<epoch>-<id>` or as an id alone. Raises `ValueError`."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError("not the id of an entry")
        epoch, id = int(found[1]) if found[1] is not None else None, int(found[2])
        if id > _LARGEST or (epoch or 0) > _LARGEST:
            raise ValueError("larger than any id")
        return cls(epoch, id)
