"""Which body is refused when another one needs its room."""

import pytest

from backend.errors import RateLimited
from backend.http.inbound_budget import InboundBody, InboundLimits, InboundRoom

ROOM = 100


@pytest.fixture
def room() -> InboundRoom:
    """Room for 100 bytes."""
    return InboundRoom(ROOM)


def came_in(
    room: InboundRoom, size: int, webhook_id: int = 1, address: str = "192.0.2.1"
) -> InboundBody:
    """A body of which `size` bytes have arrived."""
    body = InboundBody(room, webhook_id, address)
    body.take(size)
    return body


def test_while_there_is_room_no_body_is_ended(room: InboundRoom) -> None:
    bodies = [came_in(room, 25) for _ in range(4)]
    assert room.used == ROOM
    assert not any(body.is_ended for body in bodies)


def test_the_address_that_has_more_than_half_of_the_room_loses_its_oldest_body(
    room: InboundRoom,
) -> None:
    other = came_in(room, 40, address="192.0.2.2")
    bodies = [came_in(room, 20, webhook_id=n) for n in range(3)]
    came_in(room, 1, address="192.0.2.3")
    assert [body.is_ended for body in (other, *bodies)] == [False, True, False, False]
    assert room.used == 81


def test_addresses_of_one_ipv6_network_count_as_one(room: InboundRoom) -> None:
    other = came_in(room, 40)
    bodies = [came_in(room, 30, webhook_id=n, address=f"2001:db8::{n}") for n in range(2)]
    came_in(room, 1, address="192.0.2.3")
    assert [body.is_ended for body in (other, *bodies)] == [False, True, False]


def test_the_webhook_that_has_more_than_half_of_the_room_loses_its_oldest_body(
    room: InboundRoom,
) -> None:
    other = came_in(room, 40, webhook_id=2, address="192.0.2.8")
    bodies = [came_in(room, 20, address=f"192.0.2.{n}") for n in range(3)]
    came_in(room, 1, webhook_id=3, address="192.0.2.9")
    assert [body.is_ended for body in (other, *bodies)] == [False, True, False, False]


def test_where_none_has_more_than_half_the_oldest_body_is_ended(room: InboundRoom) -> None:
    bodies = [came_in(room, 25, webhook_id=n, address=f"192.0.2.{n}") for n in range(4)]
    newest = came_in(room, 30, webhook_id=9, address="192.0.2.9")
    assert [body.is_ended for body in (*bodies, newest)] == [True, True, False, False, False]
    assert room.used == 80


def test_a_body_whose_signature_was_right_keeps_its_room(room: InboundRoom) -> None:
    checked, unchecked = came_in(room, 60), came_in(room, 40)
    checked.is_checked = True
    came_in(room, 30)
    assert (checked.is_ended, unchecked.is_ended) == (False, True)
    for body in (InboundBody(room, 2, "192.0.2.2"), unchecked):
        with pytest.raises(RateLimited):
            body.take(50)
    assert not checked.is_ended


def test_a_body_that_is_next_itself_is_refused_and_leaves_what_it_has(room: InboundRoom) -> None:
    large = came_in(room, 90)
    with pytest.raises(RateLimited):
        large.take(11)
    room.leave(large)
    room.leave(large)
    assert (room.used, large.size) == (0, 0)


def test_a_body_that_was_ended_takes_no_more(room: InboundRoom) -> None:
    first = came_in(room, ROOM)
    second = came_in(room, ROOM)
    assert first.is_ended
    with pytest.raises(RateLimited):
        first.take(1)
    assert room.used == second.size == ROOM


@pytest.mark.parametrize(
    ("size", "seconds"), [(0, 5.0), (64 * 1024, 6.0), (25 * 64 * 1024, 30.0), (2**40, 30.0)]
)
def test_a_body_has_the_time_that_a_slow_line_takes(size: int, seconds: float) -> None:
    assert InboundLimits().seconds_for(size) == seconds
