"""The output of strace is read correctly or refused."""

import pytest

from tests.faults.trace import NEVER, Call, UnreadableTrace, parse_trace


def hexed(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def calls(*lines: str) -> list[Call]:
    return list(parse_trace(f"{line}\n" for line in lines))


def test_a_write_has_its_file_its_bytes_and_its_place() -> None:
    path = hexed("/data/a (deleted), 1")
    (call,) = calls(f'7 pwrite64(29<{path}>, "{hexed("one, two)")}", 9, 4096) = 9')
    assert call.name == "pwrite64"
    assert call.descriptor == (29, "/data/a (deleted), 1")
    assert call.data == b"one, two)"
    assert call.number(-1) == 4096
    assert (call.result, call.began, call.ended) == (9, 0, 0)


def test_what_is_sent_in_parts_is_put_together() -> None:
    parts = ", ".join(f'{{iov_base="{hexed(part)}", iov_len=2}}' for part in ("ab", "cd"))
    (call,) = calls(f"7 writev(3<{hexed('socket:[1]')}>, [{parts}], 2) = 4")
    assert call.data == b"abcd"


def test_calls_of_several_threads_come_in_the_order_of_their_ends() -> None:
    name = hexed("/d/f")
    first, second = calls(
        f"1 fdatasync(3<{name}> <unfinished ...>",
        f'2 pwrite64(4<{name}>, "{hexed("x")}", 1, 0) = 1',
        "1 <... fdatasync resumed>) = 0",
    )
    assert (first.name, first.began, first.ended) == ("pwrite64", 1, 1)
    assert (second.name, second.began, second.ended) == ("fdatasync", 0, 2)
    assert second.descriptor == (3, "/d/f")


@pytest.mark.parametrize("ending", [" <unfinished ...>", ") = ?"])
def test_a_call_without_an_end_never_ended(ending: str) -> None:
    (call,) = calls(f"1 fsync(3<{hexed('/d')}>{ending}")
    assert call.ended == NEVER


def test_a_call_that_failed_tells_its_result() -> None:
    directory, name = hexed("/here"), hexed("/d/x")
    (call,) = calls(
        f'1 openat(AT_FDCWD<{directory}>, "{name}", O_RDONLY) = -1 ENOENT (No such file)'
    )
    assert call.result == -1


def test_a_name_is_taken_from_the_directory_before_it() -> None:
    one, two, last = hexed("/one"), hexed("/two"), hexed("f")
    (moved, opened) = calls(
        f'1 renameat(3<{one}>, "{last}", 4<{two}>, "{hexed("/three/g")}") = 0',
        f'1 openat(AT_FDCWD<{one}>, "{last}", O_RDWR|O_CREAT, 0600) = 5<{hexed("/one/f")}>',
    )
    assert moved.paths == ["/one/f", "/three/g"]
    assert opened.paths == ["/one/f"]
    assert opened.result == 5


@pytest.mark.parametrize(
    "line",
    [
        "strace: Process 12 attached",
        "1 <... fsync resumed>) = 0",
        "1 fsync(3",
        "",
    ],
)
def test_a_line_that_is_not_understood_is_told(line: str) -> None:
    with pytest.raises(UnreadableTrace):
        calls(line)


def test_data_that_is_not_shown_whole_is_told() -> None:
    (call,) = calls(f'1 write(3<{hexed("/d/f")}>, "{hexed("abc")}"..., 9) = 9')
    with pytest.raises(UnreadableTrace):
        _ = call.data
