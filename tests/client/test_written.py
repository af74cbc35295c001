"""What `make schema` writes of the package is as it would be written now."""

from tests.client.writing.__main__ import written
from tests.client.writing.synchronous import ASYNC, BY_HAND, SYNC


def test_what_is_written_is_up_to_date() -> None:
    files = written()
    assert len(files) > 20
    assert [
        file.name for file, text in files.items() if file.read_text(encoding="utf-8") != text
    ] == [], "make schema writes them"


def test_the_synchronous_client_has_no_other_modules() -> None:
    assert {file.name for file in SYNC.glob("*.py")} == {file.name for file in ASYNC.glob("*.py")}
    assert {file.name for file in ASYNC.glob("*.py")} >= BY_HAND


def test_nothing_asynchronous_is_left_in_the_synchronous_client() -> None:
    for file in SYNC.glob("*.py"):
        if file.name not in BY_HAND:
            code = file.read_text(encoding="utf-8").partition("\n")[2]
            for word in ("async", "await", "asyncio", "Async"):
                assert word not in code, file
