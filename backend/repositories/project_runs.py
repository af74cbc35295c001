"""What a list of projects tells about the runs of each."""

from typing import Final

from database.engine import JsonObject

_TOTAL: Final = (
    "q.pending_runs + q.running_runs + q.paused_runs"
    " + q.completed_runs + q.failed_runs + q.cancelled_runs"
)
_SUCCESS_RATE: Final = (
    "q.completed_runs * CAST(1 AS DOUBLE PRECISION) / NULLIF(q.completed_runs + q.failed_runs, 0)"
)
_OF_STATUS: Final = (
    "(SELECT {0}(a.id) FROM agent_runs AS a WHERE a.project_id = page.id AND a.status = '{1}')"
)
_CURRENT: Final = (
    # The counts save look-ups in vain.
    f"CASE WHEN q.running_runs > 0 THEN {_OF_STATUS.format('max', 'running')}"
    f" WHEN q.paused_runs > 0 THEN {_OF_STATUS.format('max', 'paused')}"
    f" WHEN q.pending_runs > 0 THEN {_OF_STATUS.format('min', 'pending')} END"
)
JOINS: Final = (
    " LEFT JOIN run_queues AS q ON q.project_id = page.id"
    f" LEFT JOIN agent_runs AS r ON r.id = {_CURRENT}"
)
"""The joins that `RUNS` needs. They cost the same for any number of runs."""

_CURRENT_MEMBERS: Final = (
    # Without texts, which may be large.
    *("id", "run_number", "run_type", "status", "validation_status", "pr_number", "pr_url"),
    *("started_at", "updated_at"),
)
RUNS: Final = JsonObject(
    (
        # A project that never had a run has no queue.
        ("total", f"COALESCE({_TOTAL}, 0)", "plain"),
        ("active", "COALESCE(q.pending_runs + q.running_runs + q.paused_runs, 0)", "plain"),
        ("success_rate", _SUCCESS_RATE, "double"),
        (
            "current",
            "",
            JsonObject(
                tuple((name, f"r.{name}", "plain") for name in _CURRENT_MEMBERS),
                unless_null="r.id",
            ),
        ),
        ("last_completed_at", "q.last_completed_at", "plain"),
    )
)
"""The member `runs` of a project's JSON, with `JOINS`."""
