# Made of strongroom/_async by `make schema`: change it there.
"""Logs, which can be followed."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from strongroom._operations import operation
from strongroom._sync.pages import Pages
from strongroom._sync.resource import Resource
from strongroom._sync.streams import Stream
from strongroom._sync.transport import parsed
from strongroom._values import UNSET, Unset, fields, filters
from strongroom.models import LogEntry, LogLevel, LogList, LogsAccepted, SystemLog


class Logs(Resource):
    """`client.logs`."""

    @operation("appendLogs")
    def create(
        self,
        *,
        level: LogLevel,
        message: str,
        agent_run_id: int | Unset | None = UNSET,
        component: str | Unset | None = UNSET,
        context: Mapping[str, Any] | Unset = UNSET,
        correlation_id: str | Unset | None = UNSET,
        project_id: int | Unset | None = UNSET,
        timestamp: datetime | Unset | None = UNSET,
        idempotency_key: str | None = None,
    ) -> LogsAccepted:
        """Store one log."""
        response = self._transport.post(
            "/api/logs",
            fields(
                level=level,
                message=message,
                agent_run_id=agent_run_id,
                component=component,
                context=context,
                correlation_id=correlation_id,
                project_id=project_id,
                timestamp=timestamp,
            ),
            idempotency_key=idempotency_key,
        )
        return parsed(LogsAccepted, response)

    @operation("appendLogs")
    def create_many(
        self,
        logs: Iterable[LogEntry | Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
    ) -> LogsAccepted:
        """Store up to 1,000 logs: all of them, or none."""
        response = self._transport.post(
            "/api/logs", fields(logs=logs), idempotency_key=idempotency_key
        )
        return parsed(LogsAccepted, response)

    @operation("listLogs")
    def stream(
        self,
        *,
        after: int | str | None = None,
        level: LogLevel | None = None,
        component: str | None = None,
        correlation_id: str | None = None,
        agent_run_id: int | None = None,
        project_id: int | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        timestamp_since: datetime | str | None = None,
        timestamp_until: datetime | str | None = None,
        q: str | None = None,
    ) -> Stream[SystemLog]:
        """Logs as they are stored: those after this id, 0 for the oldest; by default from now on.
        `for` never ends, and connects again by itself."""
        query = filters(
            after_id=after,
            level=level,
            component=component,
            correlation_id=correlation_id,
            agent_run_id=agent_run_id,
            project_id=project_id,
            since=since,
            until=until,
            timestamp_since=timestamp_since,
            timestamp_until=timestamp_until,
            q=q,
        )
        return Stream(self._transport, "/api/logs", query, SystemLog)

    @operation("listLogs")
    def list(
        self,
        *,
        level: LogLevel | None = None,
        component: str | None = None,
        correlation_id: str | None = None,
        agent_run_id: int | None = None,
        project_id: int | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        timestamp_since: datetime | str | None = None,
        timestamp_until: datetime | str | None = None,
        q: str | None = None,
        after_id: int | str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Pages[SystemLog, LogList]:
        """Logs, newest first, or with `after_id` oldest first."""
        return Pages(
            self._transport,
            "/api/logs",
            filters(
                level=level,
                component=component,
                correlation_id=correlation_id,
                agent_run_id=agent_run_id,
                project_id=project_id,
                since=since,
                until=until,
                timestamp_since=timestamp_since,
                timestamp_until=timestamp_until,
                q=q,
                after_id=after_id,
                limit=limit,
                cursor=cursor,
            ),
            LogList,
            lambda page: page.logs,
        )
