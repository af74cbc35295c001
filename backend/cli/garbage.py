"""Tunes Python's garbage collector for a server."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

THRESHOLDS = (10_000, 20, 20)
"""Reference counting frees nearly all memory of a request, so collecting cycles can wait."""


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Collect no garbage during the block, which makes many objects that stay, as imports do: the
    web framework loads in two thirds of the time. The block's end restores the previous state."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def tuned_garbage_collection() -> Iterator[None]:
    """Exclude all current objects from collections during the block, and collect less often.

    A full collection also visits routes, schemas and models, and stops all requests for up to 40
    milliseconds. The block's end restores the previous state.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()
