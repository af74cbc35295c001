"""What is measured as not kept can't be kept."""

from backend.http.kept_answers import MAX_ANSWERS, MAX_BYTES
from bench.answers import MANY, PAGE
from bench.peers.shapes import PROJECT


def test_the_projects_and_their_pages_are_more_than_is_kept() -> None:
    # A circle longer than the room: the oldest answer is dropped before it is asked for again.
    assert MANY > 2 * MAX_ANSWERS
    assert MANY / PAGE > MAX_ANSWERS
    assert MANY * len(PROJECT.model_dump_json()) > 2 * MAX_BYTES
