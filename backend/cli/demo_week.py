"""A made-up week of a team of agents. The same seed makes the same week."""

import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from pydantic import SecretStr

from backend.cli.demo_talk import talk
from backend.schemas.logs import LogEntry
from backend.schemas.projects import ProjectCreate, ProjectSettingsCreate
from backend.schemas.results import TestResultBatch, TestResultCreate
from backend.schemas.runs import AgentRunCreate, AgentRunUpdate, PipelineStateCreate, RunTransition
from backend.schemas.secrets import SecretCreate
from backend.schemas.snapshots import SnapshotCreate, SnapshotUpdate
from backend.schemas.webhooks import WebhookCreate
from backend.services.database_service import DatabaseService
from backend.services.webhooks.deliveries import DeliveryTarget, IncomingDelivery
from models import (
    LogLevel,
    PipelineStateName,
    Project,
    RunStatus,
    RunType,
    SnapshotStatus,
    TestStatus,
    ValidationStatus,
    WebhookType,
)

PROJECTS = 12
RUNS = 480
LOGS_PER_RUN = 70
RESULTS_PER_RUN = 28
WEEK = timedelta(days=7)

_NAMES = (
    "payments",
    "search",
    "catalog",
    "checkout",
    "identity",
    "mobile-app",
    "docs",
    "gateway",
    "reports",
    "warehouse",
    "notifier",
    "design-system",
)
_TASKS = (
    "Retry webhooks that time out",
    "Add a dark mode to the settings page",
    "Page through orders by cursor",
    "Replace the date library",
    "Make the importer resume after a crash",
    "Cache the permissions of a session",
    "Show totals with their currency",
    "Drop the unused feature flags",
)
_LINES = (
    "cloned the repository",
    "read the rules of the repository",
    "planned {n} steps",
    "edited {n} files",
    "ran the setup commands in {n} seconds",
    "ran {n} tests",
    "waiting for the model",
    "opened the pull request",
)
_PROBLEMS = ("a test failed and is run again", "the model answered late", "a command timed out")
_PIPELINE = (
    PipelineStateName.CREATED,
    PipelineStateName.AGENT_RUNNING,
    PipelineStateName.PR_CREATED,
    PipelineStateName.SNAPSHOT_CREATING,
    PipelineStateName.TESTING,
    PipelineStateName.VALIDATION_COMPLETE,
)


class DemoClock:
    """A clock that returns the time of the demonstration's next row."""

    def __init__(self, start: datetime) -> None:
        self.time = start

    def __call__(self) -> datetime:
        return self.time

    def pass_by(self, seconds: float) -> None:
        """Let this much time pass."""
        self.time += timedelta(seconds=seconds)


class DemoWeek:
    """Fills an installation through its service, which must use `clock`."""

    def __init__(
        self,
        service: DatabaseService,
        clock: DemoClock,
        *,
        seed: int,
        on_run: Callable[[], None] = lambda: None,
        runs: int = RUNS,
    ) -> None:
        self._service = service
        self._clock = clock
        # Not for secrets: the same seed must make the same week.
        self._random = random.Random(seed)  # noqa: S311
        self._on_run = on_run
        self._runs = runs
        self._targets: dict[int, DeliveryTarget] = {}

    async def fill(self) -> None:
        """Create the projects, then one run after the other, up to the week's end."""
        projects = [await self._project(number) for number in range(PROJECTS)]
        pause = WEEK.total_seconds() / self._runs
        begin = self._clock.time
        for number in range(self._runs):
            self._clock.time = begin + timedelta(seconds=pause * number)
            # Some projects are busier than others.
            project = projects[int(self._random.random() ** 2 * PROJECTS)]
            # A run is one unit of work: seven times as many commits would take much longer.
            await self._service.db_manager.async_pool.run_unit(partial(self._run, project, number))
            self._on_run()

    async def _project(self, number: int) -> Project:
        name = _NAMES[number]
        project = await self._service.projects.create(
            ProjectCreate(
                name=name.replace("-", " ").title(),
                github_owner="acme",
                github_repo=name,
                auto_merge_enabled=number % 3 == 0,
                auto_confirm_plans=number % 2 == 0,
                settings=ProjectSettingsCreate(
                    planning_statement=f"Work on {name}. Plan before coding; keep changes small.",
                    repository_rules="Every change has a test.\nAsk before adding a dependency.",
                    setup_commands="npm ci\nnpm test" if number % 2 else "make test",
                    branch_name="develop" if number % 4 == 0 else "main",
                ),
                secrets=[
                    SecretCreate(key=key, value=SecretStr(f"made up for {name}"))
                    for key in ("NPM_TOKEN", "SENTRY_DSN")[: 1 + number % 2]
                ],
            )
        )
        webhook = await self._service.webhooks.create(
            project.id,
            WebhookCreate(
                webhook_type=WebhookType.GITHUB_PR,
                webhook_url=f"https://hooks.example.com/{name}",
                events=["pull_request", "push"],
                secret_token=SecretStr(f"made up for {name}"),
            ),
        )
        self._targets[project.id] = await self._service.deliveries.target(webhook.id)
        return project

    async def _run(self, project: Project, number: int) -> None:
        random_ = self._random
        run = await self._service.runs.create(
            AgentRunCreate.model_validate(
                {
                    "project_id": project.id,
                    "target_text": random_.choice(_TASKS),
                    "run_type": random_.choice(list(RunType)),
                    "metadata": {"ticket": f"ACME-{1000 + number}"},
                }
            )
        )
        # No worker has taken the newest runs yet, and the ones before them are in progress.
        if number >= self._runs - 6:
            return
        self._clock.pass_by(random_.uniform(2, 30))
        await self._step(run.id, RunStatus.RUNNING)
        working = number >= self._runs - 12
        failed = random_.random() < 0.15
        await self._pipeline(run.id, number, working=working, failed=failed)
        await self._logs(project.id, run.id, number, failed=failed)
        if not number % 3:
            await talk(self._service, self._clock.pass_by, run.id, number, is_answered=not working)
        if working:
            return
        await self._results(run.id, failed=failed)
        if failed:
            await self._step(run.id, RunStatus.FAILED, error_message="a test fails on main as well")
            return
        await self._service.runs.update(
            run.id,
            AgentRunUpdate(
                pr_number=number + 1,
                pr_url=f"https://github.com/acme/{project.github_repo}/pull/{number + 1}",
                validation_status=ValidationStatus.PASSED,
            ),
        )
        await self._deliver(project, number, "opened")
        await self._step(run.id, RunStatus.COMPLETED, result=f"Opened PR {number + 1}")
        if project.auto_merge_enabled:
            self._clock.pass_by(random_.uniform(5, 60))
            await self._deliver(project, number, "closed")

    async def _deliver(self, project: Project, number: int, action: str) -> None:
        payload = json.dumps(
            {
                "action": action,
                "number": number + 1,
                "pull_request": {"merged": action == "closed", "title": f"ACME-{1000 + number}"},
                "repository": {"full_name": f"{project.github_owner}/{project.github_repo}"},
            }
        )
        delivery = IncomingDelivery(
            guid=str(UUID(int=self._random.getrandbits(128))),
            event="pull_request",
            action=action,
            payload=payload,
            payload_bytes=len(payload),
        )
        await self._service.deliveries.receive(self._targets[project.id], delivery)

    async def _step(self, run_id: int, to: RunStatus, **outcome: str) -> None:
        await self._service.runs.transition(
            run_id, RunTransition.model_validate({"to": to, **outcome})
        )

    async def _pipeline(self, run_id: int, number: int, *, working: bool, failed: bool) -> None:
        states = list(_PIPELINE[: 3 if working else len(_PIPELINE)])
        if not working:
            states.append(PipelineStateName.FAILED if failed else PipelineStateName.COMPLETED)
        for state in states:
            await self._service.pipeline_states.add(run_id, PipelineStateCreate(state=state))
            self._clock.pass_by(self._random.uniform(5, 90))
        if working or number % 3:
            return
        snapshot = await self._service.snapshots.create(
            run_id,
            SnapshotCreate.model_validate(
                {"snapshot_id": f"snap-{number:05d}", "config": {"image": "python:3.12"}}
            ),
        )
        await self._service.snapshots.update(
            snapshot.id, SnapshotUpdate(status=SnapshotStatus.READY)
        )
        self._clock.pass_by(20)
        await self._service.snapshots.update(
            snapshot.id, SnapshotUpdate(status=SnapshotStatus.DESTROYED)
        )

    async def _logs(self, project_id: int, run_id: int, number: int, *, failed: bool) -> None:
        entries = []
        for _ in range(LOGS_PER_RUN):
            level, line = LogLevel.INFO, self._random.choice(_LINES)
            chance = self._random.random()
            if chance < 0.06:
                level, line = LogLevel.WARNING, self._random.choice(_PROBLEMS)
            elif chance < 0.3:
                level = LogLevel.DEBUG
            entries.append(self._entry(level, line, project_id, run_id, number))
        if failed:
            line = "gave up: a test fails on main as well"
            entries.append(self._entry(LogLevel.ERROR, line, project_id, run_id, number))
        # In several parts, so that a run's logs do not all have the same time.
        for first in range(0, len(entries), 10):
            await self._service.logs.append(entries[first : first + 10])
            self._clock.pass_by(self._random.uniform(1, 8))

    def _entry(
        self, level: LogLevel, line: str, project_id: int, run_id: int, number: int
    ) -> LogEntry:
        return LogEntry.model_validate(
            {
                "level": level,
                "message": line.format(n=self._random.randint(2, 60)),
                "component": self._random.choice(("planner", "coder", "validator")),
                "context": {"step": self._random.randint(1, 9)},
                "correlation_id": f"run-{number}",
                "project_id": project_id,
                "agent_run_id": run_id,
            }
        )

    async def _results(self, run_id: int, *, failed: bool) -> None:
        results = []
        for number in range(RESULTS_PER_RUN):
            status = TestStatus.PASSED
            # One test is flaky, and another one fails in every failed run.
            if (number == 5 and self._random.random() < 0.2) or (failed and number == 11):
                status = TestStatus.FAILED
            elif number == 20:
                status = TestStatus.SKIPPED
            results.append(
                TestResultCreate(
                    test_type="unit" if number < 20 else "e2e",
                    test_name=f"tests/test_area_{number % 7}.py::test_case_{number}",
                    status=status,
                    duration_seconds=round(self._random.uniform(0.01, 4.0), 3),
                    error_message="expected 3, got 4" if status is TestStatus.FAILED else None,
                )
            )
        await self._service.test_results.add_all(run_id, TestResultBatch(test_results=results))
