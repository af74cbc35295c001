"""The page in `examples/` in a real browser: what it shows, and how it outlives what may happen to
a service. `make browser` runs these tests."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.browser.pages import served_pages
from tests.browser.restarts import Restarts, port_to_come_back_to
from tests.support.http import new_project
from tests.support.processes import PATIENCE, run

PAGE = Path(__file__).parents[2] / "examples" / "runs.html"
SERVICE = "http://127.0.0.1:8000"
MARKUP = '<img src="x" onerror="document.title = 1"> &amp; é 💥'
SHOWS = """
expected => {
  const rows = [...document.querySelectorAll("#runs tr")]
  const shown = rows.map(({cells}) => [cells[0], cells[2], cells[3]].map(cell => cell.textContent))
  return JSON.stringify(shown) === JSON.stringify(expected)
}
"""


class Shown:
    """The page, and the service that it shows."""

    def __init__(self, page: Any, service: Restarts) -> None:
        self.page = page
        self.service = service
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def sign_in(self, token: str) -> None:
        """Use the form."""
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()

    def says(self, text: str) -> None:
        """Wait until the page says this."""
        self.page.get_by_role("status").get_by_text(text).wait_for(timeout=1000 * PATIENCE)

    def shows(self, *rows: tuple[int, str, str]) -> None:
        """Wait until the rows are these: the run's id, its task and its status."""
        texts = [[str(id), task, status] for id, task, status in rows]
        self.page.wait_for_function(SHOWS, arg=texts, timeout=1000 * PATIENCE)

    def mark(self) -> None:
        """Remember this life of the page."""
        self.page.evaluate("window.isMarked = true")

    @property
    def is_marked(self) -> bool:
        """Whether the page has not been loaded again since it was marked."""
        return bool(self.page.evaluate("window.isMarked === true"))

    def post(self, path: str, **body: Any) -> Any:
        """Do something with the admin's token. Returns the answer's JSON."""
        with self.service.client() as client:
            answer = client.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()


@pytest.fixture
def shown(chromium: Any, tmp_path: Path) -> Iterator[Shown]:
    """The page is open and asks for a token, and there is one project."""
    port = port_to_come_back_to()
    text = PAGE.read_text(encoding="utf-8")
    assert text.count(SERVICE) == 1
    with ExitStack() as stack:
        page_port = stack.enter_context(
            served_pages(text.replace(SERVICE, f"http://127.0.0.1:{port}"))
        )
        origin = f"http://127.0.0.1:{page_port}"
        service = stack.enter_context(Restarts(tmp_path / "data", port, CORS_ORIGINS=origin))
        context = chromium.new_context()
        stack.callback(context.close)
        shown = Shown(context.new_page(), service)
        shown.page.goto(origin)
        shown.post("/api/projects", **new_project())
        yield shown
        assert shown.complaints == []


def new_run(shown: Shown, task: str) -> None:
    shown.post("/api/agent-runs", project_id=1, target_text=task)


@pytest.mark.long
def test_it_shows_runs_as_they_change(shown: Shown) -> None:
    shown.sign_in("sr_1_wrong")
    shown.says("token")
    new_run(shown, "the first")
    shown.sign_in(shown.service.token)
    shown.shows((1, "the first", "pending"))
    shown.says("Live")
    shown.mark()
    new_run(shown, MARKUP)
    shown.shows((2, MARKUP, "pending"), (1, "the first", "pending"))
    shown.post("/api/agent-runs/claim", worker="w")
    shown.shows((2, MARKUP, "pending"), (1, "the first", "running"))
    shown.post("/api/agent-runs/2/cancel")
    shown.shows((2, MARKUP, "cancelled"), (1, "the first", "running"))
    with shown.service.client() as client:
        assert client.delete("/api/projects/1?purge=true").status_code == 204
    shown.shows()
    assert shown.is_marked
    assert shown.page.title() == "Runs"
    # A page that is loaded again is still signed in.
    shown.page.reload()
    shown.says("Live")
    shown.page.get_by_role("button", name="Sign out").click()
    shown.page.get_by_label("Token").wait_for()
    assert shown.page.context.cookies() == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("typed", "said"), [("the second one", ["the second one"]), ("", []), (None, None)]
)
def test_it_lets_a_paused_run_go_on(
    shown: Shown, typed: str | None, said: list[str] | None
) -> None:
    new_run(shown, "ask first")
    shown.post("/api/agent-runs/claim", worker="w")
    shown.sign_in(shown.service.token)
    shown.shows((1, "ask first", "running"))
    button = shown.page.get_by_role("button", name="Continue")
    assert not button.count()
    shown.post("/api/agent-runs/1/messages", role="agent", content=f"Which one? {MARKUP}")
    shown.post("/api/agent-runs/1/transitions", to="paused")
    shown.shows((1, "ask first", "paused"))
    asked: list[str] = []

    def answer(dialog: Any) -> None:
        asked.append(dialog.message)
        if typed is None:
            dialog.dismiss()
        else:
            dialog.accept(typed)

    shown.page.on("dialog", answer)
    with shown.page.expect_event("dialog"):
        button.click()
    if said is None:
        shown.post("/api/agent-runs/1/cancel")
        shown.shows((1, "ask first", "cancelled"))
    else:
        shown.shows((1, "ask first", "running"))
    button.wait_for(state="detached")
    assert asked == [f"Which one? {MARKUP}"]
    with shown.service.client() as client:
        answers = client.get("/api/agent-runs/1/messages?role=user").json()["messages"]
    assert [message["content"] for message in answers] == (said or [])


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_it_comes_back_to_a_service_that_was_away(shown: Shown, number: signal.Signals) -> None:
    shown.sign_in(shown.service.token)
    new_run(shown, "before")
    shown.shows((1, "before", "pending"))
    shown.mark()
    shown.service.end(number)
    shown.says("Connecting …")
    shown.service.start()
    new_run(shown, "after")
    shown.post("/api/agent-runs/claim", worker="w")
    shown.shows((2, "after", "pending"), (1, "before", "running"))
    shown.says("Live")
    assert shown.is_marked


@pytest.mark.long
def test_it_reads_all_again_after_a_reset(shown: Shown, tmp_path: Path) -> None:
    shown.sign_in(shown.service.token)
    new_run(shown, "in the backup")
    backup, restored = tmp_path / "backup.db", tmp_path / "restored"
    data = ("--data-dir", str(shown.service.directory))
    assert run("backup", backup, *data, cwd=tmp_path).status == 0
    new_run(shown, "after the backup")
    shown.shows((2, "after the backup", "pending"), (1, "in the backup", "pending"))
    shown.mark()
    shown.service.end(signal.SIGTERM)
    restored.mkdir(mode=0o700)
    shutil.copy2(shown.service.directory / "master.key", restored)
    outcome = run("restore", backup, "--data-dir", str(restored), cwd=tmp_path)
    assert outcome.status == 0, outcome.err
    shutil.copy2(shown.service.directory / "admin.token", restored)
    shown.service.start(restored)
    shown.shows((1, "in the backup", "pending"))
    new_run(shown, "after the restore")
    shown.shows((2, "after the restore", "pending"), (1, "in the backup", "pending"))
    assert shown.is_marked


@pytest.mark.long
def test_it_shows_nothing_more_when_its_token_has_ended(shown: Shown) -> None:
    scopes = ["runs:read"]
    made = shown.post("/api/tokens", name="page", scopes=scopes)
    new_run(shown, "secret")
    shown.sign_in(made["token"])
    shown.shows((1, "secret", "pending"))
    with shown.service.client() as client:
        assert client.delete(f"/api/tokens/{made['id']}").status_code == 204
    shown.shows()
    shown.page.get_by_label("Token").wait_for()


@pytest.mark.long
def test_it_opens_another_stream_after_a_refusal(shown: Shown) -> None:
    shown.service.end(signal.SIGTERM)
    shown.service.start(MAX_STREAMS="0")
    shown.page.reload()
    new_run(shown, "a run")
    with shown.page.expect_response(lambda answer: answer.status == 503):
        shown.sign_in(shown.service.token)
    shown.mark()
    shown.says("Connecting …")
    shown.service.end(signal.SIGTERM)
    shown.service.start(MAX_STREAMS="10")
    shown.shows((1, "a run", "pending"))
    shown.says("Live")
    assert shown.is_marked
