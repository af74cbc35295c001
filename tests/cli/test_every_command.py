"""What holds for every command: its options, files, paths and signals."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest

from backend.crypto.keyring import generate_master_key
from tests.cli.commands import (
    CALLS,
    OF_A_SERVICE,
    OF_AN_INSTALLATION,
    WITHOUT_DATA,
    WITHOUT_RESULT,
    call,
    commands,
    groups,
)
from tests.cli.conftest import Command
from tests.cli.standard_files import run_with
from tests.support.processes import PATIENCE, environment, write_documents
from tests.wheel.building import write_others_modules

KEY = generate_master_key("first")
ROOT = Path(__file__).parents[2]
SIGNALS = {"INT": 130, "TERM": 143, "QUIT": 131, "HUP": 129}


def test_every_command_is_known_here() -> None:
    assert set(commands()) == set(CALLS)


@pytest.mark.parametrize("name", [*groups(), *CALLS])
def test_h_is_help(command: Command, name: str) -> None:
    short, long = command(*name.split(), "-h"), command(*name.split(), "--help")
    assert (short.status, short.err) == (0, "")
    assert short.out == long.out
    assert short.out.startswith(f"Usage: strongroom {name}".rstrip())


@pytest.mark.parametrize("name", CALLS)
def test_it_takes_a_data_directory_and_tells_its_result_as_json(name: str) -> None:
    options = {option for parameter in commands()[name].params for option in parameter.opts}
    assert ("--data-dir" in options) == (name not in WITHOUT_DATA)
    assert ("--json" in options) == (name not in WITHOUT_RESULT)


@pytest.mark.parametrize("name", sorted(CALLS.keys() - WITHOUT_DATA))
@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_data_directory_is_wrong_use(
    command: Command, tmp_path: Path, name: str, empty: str
) -> None:
    outcome = command(*call(name, "--data-dir", empty))
    assert outcome.status == 2
    assert outcome.complaint == "--data-dir: must be the path of a directory"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", OF_AN_INSTALLATION)
def test_a_file_of_the_working_directory_runs_nothing(
    command: Command, tmp_path: Path, name: str
) -> None:
    hostile = f"MASTER_KEYS_COMMAND=touch {tmp_path}/touched\nSTRONGROOM_AUTH=off"
    (tmp_path / ".env").write_text(f"STRONGROOM_{hostile}\n")
    (tmp_path / ".env").chmod(0o600)
    if name == "demo":
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "something").touch()
    outcome = command(*call(name))
    assert (".env" in outcome.err) == (name == "serve")
    assert outcome.status == (0 if name in {"migrate", "keys generate"} else 1)
    assert not (tmp_path / "touched").exists()


ODD = {
    "empty": "",
    "blank": " \t ",
    "NUL": "a\0b",
    "too long": "x" * 70_000,
    "no UTF-8": "\udcff",
    "many digits": "9" * 40,
    "lines": "a\nb",
    "below": "-1",
}
TAKEN = {
    "FILE.jsonl": {"no UTF-8", "lines", "many digits"},
    "DEST": {"no UTF-8", "lines", "many digits"},
    "SRC": {"no UTF-8", "lines", "many digits"},
    "NAME": {"lines", "many digits"},
    "--data-dir": {"no UTF-8", "lines", "many digits", "below"},
    "--host": {"many digits", "below"},
    "--seed": {"many digits", "below"},
}
"""Values that the parameter accepts."""
FOREIGN_WORDS = ("Input should", "Value error", "String should", "List should", "unexpected", "xxx")


@pytest.mark.parametrize("name", OF_AN_INSTALLATION)
def test_an_odd_value_is_one_line_in_our_words(command: Command, tmp_path: Path, name: str) -> None:
    for parameter in commands()[name].params:
        if getattr(parameter, "is_flag", False):
            continue
        is_option = parameter.param_type_name == "option"
        shown = parameter.opts[0] if is_option else parameter.metavar
        for odd in ODD.keys() - TAKEN.get(shown, set()):
            given = [shown, ODD[odd]] if is_option else []
            arguments = CALLS[name] if is_option else (ODD[odd], *CALLS[name][1:])
            outcome = command(*name.split(), *arguments, *given)
            assert outcome.status == 2, (shown, odd, outcome)
            assert (shown in outcome.complaint) or odd == "below", (odd, outcome)
            assert not any(word in outcome.err for word in FOREIGN_WORDS), (odd, outcome.err)
    assert list(tmp_path.iterdir()) == []


def test_a_token_for_too_many_projects_is_told_as_such(command: Command) -> None:
    given = ",".join(str(number) for number in range(1, 502))
    outcome = command(*call("token create", "--project", given))
    assert (outcome.status, outcome.complaint) == (2, "--project: must be at most 500 projects")


PATHS = {"import", "export", "audit export", "backup", "restore"}


def test_every_path_that_is_an_argument_is_asked() -> None:
    metavars = {
        name: {
            parameter.metavar for parameter in one.params if parameter.param_type_name == "argument"
        }
        for name, one in commands().items()
        if name not in OF_A_SERVICE
    }
    known = {"DEST", "SRC", "FILE.jsonl"}
    assert {name for name, found in metavars.items() if found & known} == PATHS
    assert set().union(*metavars.values()) - known == {"NAME", "ID"}


@pytest.mark.parametrize("name", sorted(PATHS))
@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_path_is_wrong_use(
    command: Command, tmp_path: Path, name: str, empty: str
) -> None:
    assert command("migrate", "--data-dir", tmp_path / "data").status == 0
    outcome = command(*name.split(), empty, "--data-dir", tmp_path / "data")
    assert outcome.status == 2
    assert "is empty: give the path of a file" in outcome.complaint
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


Case = tuple[str, tuple[str, ...], Path]


def _run_all(cases: list[Case]) -> list[tuple[int, str, str]]:
    env = environment(MASTER_KEYS=KEY)
    outcomes = [run_with(case, line, folder, env) for case, line, folder in cases]
    return [(outcome.status, outcome.out, outcome.err) for outcome in outcomes]


@pytest.fixture(scope="module")
def lines() -> dict[str, tuple[str, ...]]:
    """A call of each command that ends without a signal."""
    without = {"serve", "demo"}
    return {name: call(name) for name in OF_AN_INSTALLATION if name not in without}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, lines: dict[str, tuple[str, ...]]) -> Path:
    """A data directory with non-ASCII names, and the files that `lines` need next to it."""
    folder = tmp_path_factory.mktemp("place") / "Gehäuse"
    folder.mkdir()
    one = {"name": "Zürich \N{SNOWMAN}", "github_owner": "acme", "github_repo": "a"}
    write_documents(folder / "in.jsonl", [one])
    made = [
        (*call("import"), "--data-dir", "data"),
        ("token", "create", "Jürgen \N{SNOWMAN}", "--scope", "admin", "--data-dir", "data"),
        ("backup", "source.db", "--data-dir", "data"),
    ]
    assert {status for status, _, _ in _run_all([("", line, folder) for line in made])} == {0}
    assert set(lines) <= set(CALLS)
    return folder


def _cases(
    case: str, lines: dict[str, tuple[str, ...]], place: Path, *options: str
) -> dict[str, tuple[int, str, str]]:
    """The status and output of each command."""
    for left in ("out.jsonl", "audit.jsonl", "copy.db"):
        (place / left).unlink(missing_ok=True)
    spare = ("token", "create", "spare", "--scope", "admin", "--data-dir", "data")
    assert [status for status, _, _ in _run_all([("", spare, place)])] == [0]
    with closing(connect(place / "data/strongroom.db")) as connection:
        (last,) = connection.execute("SELECT max(id) FROM api_tokens").fetchone()
    calls = []
    for name, line in lines.items():
        restored = "".join(("restored", case, *options)).replace(" ", "")
        directory = restored if name == "restore" else "data"
        key = () if name in WITHOUT_DATA else ("--data-dir", directory)
        given = ("token", "revoke", str(last)) if name == "token revoke" else line
        calls.append((case, (*given, *key, *options), place))
    return dict(zip(lines, _run_all(calls), strict=True))


@pytest.mark.parametrize(
    "case", [pytest.param("closed stdin", marks=pytest.mark.long_form), "closed stderr"]
)
def test_what_is_not_needed_may_be_closed_or_full(
    case: str, lines: dict[str, tuple[str, ...]], place: Path
) -> None:
    for name, (status, out, err) in _cases(case, lines, place).items():
        assert (status, err) == (0, ""), (name, err)
        assert out, name


@pytest.mark.parametrize(
    "case", ["closed stdout", pytest.param("full stdout", marks=pytest.mark.long_form)]
)
def test_a_result_that_can_not_be_written_is_one_line(
    case: str, lines: dict[str, tuple[str, ...]], place: Path
) -> None:
    for name, (status, out, err) in _cases(case, lines, place).items():
        assert (status, out) == (1, ""), name
        assert err.startswith("strongroom: "), name
        assert err.count("\n") == 1, (name, err)
        assert "standard output can't be written" in err, (name, err)


@pytest.mark.parametrize("case", ["closed stderr", "full stderr"])
def test_a_complaint_that_can_not_be_written_is_left_out(case: str, place: Path) -> None:
    call = (case, ("verify", "--data-dir", "nowhere"), place)
    assert _run_all([call]) == [(1, "", "")]


@pytest.mark.long_form
def test_where_only_ascii_can_be_shown_everything_is_shown(
    lines: dict[str, tuple[str, ...]], place: Path
) -> None:
    shown = _cases("ascii", lines, place, "--json")
    for name, (status, out, err) in shown.items():
        assert (status, err) == (0, ""), (name, err)
        assert out.isascii(), name
        json.loads(out)
    names = [token["name"] for token in json.loads(shown["token list"][1])["tokens"]]
    assert "Jürgen \N{SNOWMAN}" in names
    folder = json.loads(shown["backup"][1])["path"]
    assert Path(folder).parent == place
    plain = [
        ("ascii", (*lines[name], "--data-dir", directory), place)
        for name, directory in (("token list", "data"), ("verify", "data"), ("verify", "Züri"))
    ]
    listed, verified, failed = _run_all(plain)
    assert "J\\xfcrgen \\u2603" in listed[1]
    assert verified[0] == 0
    assert failed[0] == 1
    assert "Z\\xfcri" in failed[2]


def test_an_import_from_a_closed_file_is_one_line(place: Path) -> None:
    ((status, out, err),) = _run_all(
        [("closed stdin", ("import", "-", "--data-dir", "data"), place)]
    )
    assert (status, out) == (1, "")
    assert err == "strongroom: standard input is closed: name a file, or use a pipe\n"


ENDED = [
    ("backend.cli", "INT"),
    ("backend.cli", "TERM"),
    ("backend.cli", "QUIT"),
    ("backend.cli", "HUP"),
    ("typer", "INT"),
    ("uvicorn", "INT"),
    ("backend.routes.snapshots", "INT"),
]
SIGNALLED = """
import json, os, signal, sys
# What the product's modules import, so that only they are loaded again for each case.
import cryptography, fastapi, pydantic_settings, rich.table, structlog

class Finder:
    def __init__(self, module, number):
        self.module = module
        self.number = number

    def find_spec(self, name, path=None, target=None):
        if name == self.module:
            os.kill(os.getpid(), self.number)

def status(module, number):
    assert module not in sys.modules
    pid = os.fork()
    if not pid:
        sys.meta_path.insert(0, Finder(module, getattr(signal, f"SIG{number}")))
        import strongroom.__main__
        sys.exit(strongroom.__main__.main())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

cases = json.loads(sys.stdin.read())
print(json.dumps([status(*case) for case in cases]))
"""
"""Runs the command many times, each time with a signal that arrives while a certain module is
imported."""


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], int]:
    """The exit status for each of `ENDED`."""
    data = tmp_path_factory.mktemp("signalled") / "data"
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED, "serve", "--port", "0", "--data-dir", data],
        cwd=ROOT,
        env=environment(),
        input=json.dumps(ENDED).encode(),
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == b""
    assert not data.exists()
    # Any further output of a process would make this invalid JSON.
    return dict(zip(ENDED, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize(("module", "name"), ENDED)
def test_a_signal_while_modules_are_loaded_ends_without_a_word(
    ends: dict[tuple[str, str], int], module: str, name: str
) -> None:
    assert ends[module, name] == SIGNALS[name]


def test_python_m_is_the_command_in_any_folder(tmp_path: Path) -> None:
    # Python looks for modules in the working directory first.
    folder = write_others_modules(tmp_path / "program")
    done = subprocess.run(
        [sys.executable, "-m", "strongroom", "frobnicate"],
        cwd=folder,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == b"strongroom: No such command 'frobnicate': see strongroom --help\n"


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("strongroom ver", ["verify"]),
        ("strongroom token cr", ["create"]),
        ("strongroom token create ci --scope secrets:", ["secrets:write", "secrets:reveal"]),
    ],
)
def test_a_shell_can_complete(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: str, offered: list[str]
) -> None:
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    monkeypatch.setenv("_STRONGROOM_COMPLETE", "complete_bash")
    shown = command()
    assert (shown.status, shown.err) == (0, "")
    assert shown.out.split() == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_of_each_shell_can_be_shown(command: Command, shell: str) -> None:
    shown = command("--show-completion", shell)
    assert (shown.status, shown.err) == (0, "")
    assert "_STRONGROOM_COMPLETE=complete_" + shell in shown.out
    assert os.linesep in shown.out
