"""The server's garbage collection."""

import contextlib
import gc
import weakref

import pytest

from backend.cli.garbage import THRESHOLDS, tuned_garbage_collection, without_garbage_collection


class _Node:
    def __init__(self) -> None:
        self.itself = self


def test_what_was_there_before_is_not_gone_through() -> None:
    old = _Node()
    with tuned_garbage_collection():
        assert gc.get_freeze_count() > 1000
        assert not any(found is old for found in gc.get_objects())
    assert any(found is old for found in gc.get_objects())


def test_cycles_made_since_are_still_freed() -> None:
    with tuned_garbage_collection():
        gone = weakref.ref(_Node())
        made = [_Node() for _ in range(THRESHOLDS[0] + 1000)]
        assert gone() is None
        assert made


def test_afterwards_everything_is_as_before() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), tuned_garbage_collection():
        raise KeyError
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("enabled", [True, False])
def test_collection_is_as_before_after_imports_without_it(*, enabled: bool) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with contextlib.suppress(ImportError), without_garbage_collection():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()
