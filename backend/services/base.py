"""The kit that all use cases share, and units of work."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from pydantic import BaseModel
from pydantic_core import to_json

from backend.crypto.audit_chain import AuditChain
from backend.crypto.cursors import CursorCodec
from backend.crypto.row_digests import RowDigests
from backend.crypto.service_keys import ServiceKeys
from backend.crypto.vault import Vault
from backend.errors import ProjectNotFound
from backend.repositories import Repositories
from backend.services.commits import Commits
from backend.services.enclosing import Joining, joins_others
from backend.services.guard import Guard
from backend.services.listing import Listing
from backend.services.principal import Principal, current_principal
from backend.services.recording import Recorder
from backend.services.redaction.redactor import Redactor
from backend.services.shown import counted
from database.base import Clock, utc_now
from database.connection_manager import DatabaseManager
from database.engine import ALONE, Call, Transaction, in_unit_of_work
from models import Project, ProjectStatus

P = ParamSpec("P")
T = TypeVar("T")


class Gate(Protocol):
    """Checks whether the token that a unit acts for has ended."""

    def may_have_ended(self, principal: Principal) -> bool:
        """Whether `require_valid` has to be called."""
        ...

    async def require_valid(self, principal: Principal) -> None:
        """Raises `Unauthenticated` when the principal's token has ended."""
        ...


class OpenGate:
    """The gate of a service without tokens: it lets everything through."""

    def may_have_ended(self, principal: Principal) -> bool:  # noqa: ARG002 - see `Gate`
        """Always False."""
        return False

    async def require_valid(self, principal: Principal) -> None:
        """Raises nothing."""


class UnitsOfWork:
    """One database's repositories and transactions."""

    def __init__(self, db_manager: DatabaseManager, *, clock: Clock = utc_now) -> None:
        self.db_manager = db_manager
        self.clock = clock
        self.repositories = Repositories(db_manager, clock)
        self.gate: Gate = OpenGate()

    @property
    def kit(self) -> "UnitsOfWork":
        """This object, so that a subclass can have `@unit_of_work` methods itself."""
        return self

    def transaction(self) -> AbstractAsyncContextManager[Repositories]:
        """The repositories inside a transaction: committed when the block ends, rolled back when
        it raises.

        In a `@unit_of_work` method it needs no change of thread. Elsewhere it holds the writer
        until the block ends, while other writes wait.
        """
        return _RepositoriesInside(self.db_manager.async_pool.transaction(), self.repositories)


class _RepositoriesInside:
    """The context manager of a transaction whose block gets repositories. A generator would take
    three times as long."""

    __slots__ = ("_repositories", "_transaction")

    def __init__(
        self, transaction: AbstractAsyncContextManager[Transaction], repositories: Repositories
    ) -> None:
        self._transaction = transaction
        self._repositories = repositories

    async def __aenter__(self) -> Repositories:
        return self._repositories.using(await self._transaction.__aenter__())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._transaction.__aexit__(kind, error, traceback)


@dataclass(frozen=True, slots=True)
class KeptVersions:
    """How many of the newest versions are kept, with the present one; `None` for all."""

    configurations: int | None = 100
    secrets: int | None = 10

    @staticmethod
    def oldest(newest: int, kept: int | None) -> int:
        """The oldest of the newest `kept` versions."""
        return newest - kept + 1 if kept is not None else 0


class Kit(UnitsOfWork):
    """The objects that the use cases of one installation share."""

    def __init__(
        self,
        db_manager: DatabaseManager,
        vault: Vault,
        keys: ServiceKeys,
        *,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(db_manager, clock=clock)
        self.vault = vault
        self.keys = keys
        self.shown_versions = counted(db_manager.async_pool.table_versions)
        self._cursors = CursorCodec(keys.cursors)
        self.guard = Guard(RowDigests(keys.row_digests))
        self.kept_versions = KeptVersions()
        chain = AuditChain(keys.audit_chain)
        self.audit = Recorder(chain, self.guard.digests, self.now, self.repositories)
        versions, journal = db_manager.async_pool.table_versions, db_manager.async_pool.journal
        self.redactor = Redactor(vault, self.guard, self.audit, versions, lambda: journal.number)
        self.commits = Commits(self.audit, versions)
        journal.write_entries = self.audit.write
        journal.on_commit = self.audit.follow

    def now(self) -> datetime:
        """The time of `clock`, also after `clock` was replaced."""
        return self.clock()

    def listing(self, name: str, *filters: object, cursor: str | None) -> Listing:
        """The list of this name under these filters, at the page that `cursor` names. Raises
        `BadCursor`."""
        return Listing(self._cursors, name, filters, cursor)


class UseCases:
    """The use cases of one family over the kit; each method is at most one transaction."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit

    def transaction(self) -> AbstractAsyncContextManager[Repositories]:
        """The kit's `transaction`."""
        return self.kit.transaction()

    @property
    def repositories(self) -> Repositories:
        """The kit's repositories, outside of any transaction."""
        return self.kit.repositories

    @property
    def db_manager(self) -> DatabaseManager:
        """The kit's database."""
        return self.kit.db_manager

    @property
    def clock(self) -> Clock:
        """The kit's clock. Setting it changes the clock of all use cases."""
        return self.kit.clock

    @clock.setter
    def clock(self, clock: Clock) -> None:
        self.kit.clock = clock


class HasKit(Protocol):
    """A class that can have `@unit_of_work` methods."""

    @property
    def kit(self) -> UnitsOfWork: ...


S = TypeVar("S", bound=HasKit)
Method = Callable[Concatenate[S, P], Coroutine[Any, Any, T]]


@overload
def unit_of_work(method: "Method[S, P, T]") -> "Method[S, P, T]": ...
@overload
def unit_of_work(
    *,
    read_only: bool = False,
    urgent: bool = False,
    together: str | None = None,
    kind: "Callable[..., Hashable] | None" = None,
) -> "Callable[[Method[S, P, T]], Method[S, P, T]]": ...
def unit_of_work(
    method: Any = None,
    *,
    read_only: bool = False,
    urgent: bool = False,
    together: str | None = None,
    kind: Callable[..., Hashable] | None = None,
) -> Any:
    """Run the whole method on a database thread, in one hop, and share its COMMIT with others.

    The method may await only `self.transaction()`, the repositories that it yields, and other
    units of work, which then join it; anything else raises `UnitOfWorkError`. It must have no
    effect outside the database, since it may run again. With `read_only` it runs in one snapshot
    on a reader. An urgent unit runs before all waiting ones. A unit whose token has ended by the
    time it runs raises `Unauthenticated`.

    `together` is the name of a method that runs many such units as one: see
    `database.engine.Together`. It must do what they would do one after another. Units of a method
    are of one kind, unless `kind` returns the kind for their arguments; only units of one kind run
    as one.
    """
    if method is None:
        return functools.partial(
            unit_of_work, read_only=read_only, urgent=urgent, together=together, kind=kind
        )

    @functools.wraps(method)
    async def run(self: HasKit, *args: Any, **kwargs: Any) -> Any:
        if in_unit_of_work():
            if joins_others.get():
                alike = _Together(self, together) if together is not None and not kwargs else None
                return await Joining(alike, args)
            return await method(self, *args, **kwargs)
        kit = self.kit

        async def work() -> Any:
            principal = current_principal()
            if kit.gate.may_have_ended(principal):
                await kit.gate.require_valid(principal)
            return await method(self, *args, **kwargs)

        of_kind = method.__qualname__ if kind is None else kind(*args)
        return await kit.db_manager.async_pool.run_unit(
            work,
            read_only=read_only,
            urgent=urgent,
            kind=of_kind,
            together=(
                _Together(self, together, of_kind) if together is not None and not kwargs else None
            ),
            arguments=args,
        )

    return run


class _Together:
    """Runs units as one, except for those whose token may have ended."""

    __slots__ = ("_kind", "_method", "_owner")

    def __init__(self, owner: HasKit, method: str, kind: Hashable = None) -> None:
        self._owner = owner
        self._method = method
        self._kind = kind

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Together)
            and self._owner is other._owner
            and self._method == other._method
            and self._kind == other._kind
        )

    def __hash__(self) -> int:
        return hash((id(self._owner), self._method))

    async def __call__(self, calls: Sequence[Call]) -> Sequence[Any]:
        may_have_ended = self._owner.kit.gate.may_have_ended
        own = [may_have_ended(call.context.run(current_principal)) for call in calls]
        run = getattr(self._owner, self._method)
        if not any(own):
            outcomes: Sequence[Any] = await run(calls)
            return outcomes
        left = iter(await run([c for c, alone in zip(calls, own, strict=True) if not alone]))
        return [ALONE if alone else next(left) for alone in own]


async def shielded_then(work: Coroutine[Any, Any, T], effect: Callable[[], None]) -> T:
    """Run `work`, then `effect`, and return the result of `work`. `effect` runs once `work` has
    ended, even if it failed or the caller was cancelled: for steps that must follow a commit."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda _: effect())
    return await asyncio.shield(task)


def differing(current: BaseModel, data: Mapping[str, Any]) -> dict[str, Any]:
    """The items of `data`, a request's `given_fields()`, whose value differs from `current`."""
    return {name: value for name, value in data.items() if _given(getattr(current, name)) != value}


def _given(value: Any) -> Any:
    # Python takes 1, 1.0 and true for equal, and ignores the order of keys; JSON text does not.
    return to_json(value).decode() if isinstance(value, dict) else value


async def existing_project(repositories: Repositories, project_id: int) -> Project:
    """The project, deleted or not. Raises `ProjectNotFound`, also when the current principal may
    not see it."""
    if not current_principal().sees(project_id):
        raise ProjectNotFound
    project = await repositories.projects.get_by_id(project_id)
    if project is None:
        raise ProjectNotFound
    return project


async def live_project(repositories: Repositories, project_id: int) -> Project:
    """The project, if it is not deleted. Raises `ProjectNotFound`."""
    project = await existing_project(repositories, project_id)
    if project.status is ProjectStatus.DELETED:
        raise ProjectNotFound
    return project


async def require_live_project(repositories: Repositories, project_id: int) -> None:
    """Raises `ProjectNotFound` where `live_project` does, at half its cost."""
    if not current_principal().sees(project_id) or not await repositories.projects.is_live(
        project_id
    ):
        raise ProjectNotFound
