"""Master keys that are wrong."""

import base64
from collections.abc import Iterator
from pathlib import Path

from backend.crypto.keyring import generate_master_key
from tests.faults.site import Site, Tally
from tests.support.processes import environment, run

LOCK = "strongroom.db.lock"
"""Contains the process id of its last holder, and so changes even when a start is refused."""

SOME = 3
"""Wrong keys per round."""


def _wrong_keys(right: str) -> Iterator[tuple[str, str, str]]:
    """The kind of error, the text of the keys, and the name that the refusal must contain."""
    name, _, material = right.partition(":")
    other = generate_master_key("other")
    yield "wrong", f"{name}:{other.partition(':')[2]}", name
    yield "missing, with another in its place", other, name
    for what, key in (
        ("short", base64.b64decode(material)[:16]),
        ("all zero", bytes(32)),
        ("empty", b""),
    ):
        yield what, f"{name}:{base64.b64encode(key).decode()}", "master key 1 of 1"
    yield "cut off", f"{name}:{material[:-3]}", "master key 1 of 1"
    yield "without its id", material, "master key 1 of 1"


def wrong_keys(directory: Path, tally: Tally, rounds: int, seed: int) -> None:
    """Starts with master keys that are missing, wrong, short or all zero, after a stop or a
    SIGKILL."""
    site = Site(directory / "site", tally, seed)
    for number in range(rounds):
        with site.serving() as serving, site.load(serving) as load:
            site.pause(0.3)
            if number % 2 == 0:
                assert serving.end() == 0
            else:
                serving.process.kill()
                serving.finish()
            load.wait()
        # The first process that opens the database copies a killed process's log into the file.
        _are_refused(site, tally, ignored=LOCK if number % 2 == 0 else "strongroom.db*")
        site.check()
        tally.rounds += 1
    site.done()


def _are_refused(site: Site, tally: Tally, ignored: str) -> None:
    file = site.directory / "master.key"
    right = file.read_text().strip()
    before = _content(site.directory, ignored)
    for what, text, named in site.chance.sample(list(_wrong_keys(right)), SOME):
        _is_refused(site, {"MASTER_KEYS": text}, (right, text), named)
        tally.note(what)
    _is_refused(site, {"ENVIRONMENT": "production"}, (right,), "STRONGROOM_MASTER_KEYS")
    moved = file.rename(site.directory.with_name("elsewhere"))
    _is_refused(site, {}, (right,), "STRONGROOM_MASTER_KEYS")
    moved.rename(file)
    tally.note("missing", 2)
    after = _content(site.directory, ignored)
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    assert not changed, f"starts that were refused have changed {changed}"


def _is_refused(site: Site, settings: dict[str, str], keys: tuple[str, ...], named: str) -> None:
    where = ("serve", "--port", "0", "--data-dir", str(site.directory))
    outcome = run(*where, cwd=site.directory.parent, env=environment(**settings))
    assert outcome.status in (1, 2), outcome
    assert named in outcome.complaint
    for key in keys:
        material = key.partition(":")[2] or key
        assert not material or material not in outcome.err + outcome.out, "a key is shown"


def _content(directory: Path, ignored: str) -> dict[str, tuple[int, bytes]]:
    """The names, modes and bytes of all files except those that match `ignored`."""
    return {
        str(path.relative_to(directory)): (path.stat().st_mode, path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file() and not path.match(ignored)
    }
