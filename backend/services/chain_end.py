"""The end of the audit as this process committed it, and what depends on it: the head outside the
database, reveals, and the discovery of entries that were cut off."""

import errno
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from backend.crypto.audit_chain import ORIGIN
from backend.errors import NoRoomToRecord, NotRecorded
from backend.observability.log import get_logger
from backend.repositories.audit_repository import AuditHead, UnnumberedRow
from backend.services.kinds import Kind
from backend.services.principal import SYSTEM

logger = get_logger("strongroom.audit")

_REVEALED = Kind.SECRET_REVEALED.value
_LOSS_FOUND = Kind.AUDIT_LOSS_FOUND.value
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class HeadKeeper(Protocol):
    """Keeps heads outside of the database."""

    def keep(self, heads: Iterable[AuditHead]) -> None:
        """Have these heads where the end of the process can't lose them. Called on the writer's
        thread, where 8 microseconds are fine, while a hop to another one takes 50. Raises
        `OSError`."""
        ...


class ChainEnd:
    """Follows the end of the chain from commit to commit.

    The writer's thread changes it, and any thread reads it.
    """

    def __init__(self) -> None:
        self.committed: AuditHead | None = None
        """The newest entry, which is durable; `None` before anything is known."""
        self.losses = 0
        """How often entries were missing that this process had committed."""
        self.keeper: HeadKeeper | None = None
        """Gets the head before a reveal is answered; `None` if heads are not kept outside."""
        self._written: tuple[AuditHead, bool] | None = None
        self._lost: deque[AuditHead] = deque()
        self._told: AuditHead | None = None
        self._failure: OSError | None = None
        self._keeping = threading.Lock()
        """Held while heads are kept, so that no success with an older head hides a failure."""

    def begin(self, head: AuditHead | None) -> None:
        """Take the database's `head` as the end, if none is known yet. For a start."""
        if self.committed is None:
            self.committed = _existing(head)

    def is_cut(self, head: AuditHead | None) -> bool:
        """Whether `head`, now the newest entry, is another one than this process committed last."""
        return self.committed is not None and self.committed != _existing(head)

    def with_loss(
        self, rows: Sequence[UnnumberedRow], head: AuditHead | None, at: str
    ) -> Sequence[UnnumberedRow]:
        """`rows` with the one that records that the chain now ends at `head`. Also tells the log,
        once for each loss."""
        known = self.committed
        assert known is not None  # noqa: S101 - the caller found the loss
        if known != self._told:
            self._told = known
            self.losses += 1
            if self.keeper is not None:
                self._lost.append(known)
            logger.error(
                "the audit was cut or changed at its end while the service was running, by another "
                "program: find out which program wrote the database, run strongroom verify, and "
                "restore a backup if necessary",
                committed_entry=known.id,
                newest_entry=_existing(head).id,
            )
        target = loss_target(known.id)
        if any(row.action == _LOSS_FOUND and row.target == target for row in rows):
            return rows
        loss = UnnumberedRow(at, SYSTEM.name, None, _LOSS_FOUND, target, None, "[]", None)
        return [loss, *rows]

    def written(self, head: AuditHead, rows: Iterable[UnnumberedRow]) -> None:
        """Note the end that the transaction with these rows will have if it is committed."""
        self._written = head, _REVEALED in [row.action for row in rows]

    def follow(self) -> None:
        """The transaction is durable. Keeps its head if it has reveals, before they are
        answered."""
        assert self._written is not None  # noqa: S101 - see `Journal.on_commit`
        self.committed, has_reveals = self._written
        if has_reveals or self._lost:
            self.keep()

    def keep(self) -> None:
        """Pass the committed end to the keeper, after the ends that were found to be lost. Tells
        the log when that begins to fail; until it succeeds, `require_kept` raises."""
        with self._keeping:
            lost, head = list(self._lost), self.committed
            if self.keeper is None or head is None or head == _EMPTY:
                return
            try:
                self.keeper.keep([*lost, head])
            except OSError as error:
                if self._failure is None:
                    logger.error(  # noqa: TRY400 - the cause says all
                        "audit.heads can't be written, so no secret is revealed",
                        cause=error.strerror,
                    )
                self._failure = error
            except Exception:
                self._failure = OSError(errno.EIO, "unexpected failure")
                raise
            else:
                self._failure = None
                for _ in lost:
                    self._lost.popleft()

    def require_kept(self) -> None:
        """Raises `NotRecorded` when the head was not kept at the last attempt."""
        failure = self._failure
        if failure is not None:
            kind = NoRoomToRecord if failure.errno in _NO_ROOM else NotRecorded
            raise kind(
                "no secret is revealed while the end of the audit can't be written to audit.heads "
                f"({failure.strerror}): make it an ordinary file that the service can write, on a "
                "disk with room"
            )


def loss_target(id: int) -> str:
    """The target of the entry which records that the entry with this id was lost."""
    return f"audit/{id}"


def _existing(head: AuditHead | None) -> AuditHead:
    return head if head is not None else _EMPTY


_EMPTY = AuditHead(0, ORIGIN)
