"""The performance goals as one table, and the verdict on each."""

from collections.abc import Mapping

from bench import growth_kinds
from bench.verdicts import Goal, Relation, Verdict
from bench.workloads import WORKLOADS

CONNECTIONS = 64
"""The goals apply to this number of connections; the other numbers show how it scales."""

LIMIT_P95_MS = 50.0
"""The only goal that affects the exit status."""

SHARES = {
    # The share of the ceiling, times Fastify over libsql, times the ordinary pool.
    "create": (0.75, 2.0, 6.0),
    "upsert": (0.60, 2.0, 6.0),
    "log": (1.2, 2.0, 6.0),
    "mix": (1.3, 1.3, 5.0),
    "read": (1.9, 0.9, 9.0),
    "list": (3.0, 4.0, 15.0),
    "full": (2.2, 3.0, 15.0),
}
"""The bounds of each workload, in the order of the table."""
FASTIFY = {"fastify": "Fastify", "fastify-audited": "Fastify with tokens and a chained audit"}
"""The peers that the second bound applies to."""
MOST_P99_MS = {name: 25.0 if name == "upsert" else 20.0 for name in SHARES}
MOST_P999_MS = 50.0
USE_CASES = {
    "run": "run create",
    "claim": "claim",
    "heartbeat": "heartbeat",
    "transition": "transition",
    "pipeline": "pipeline state",
    "delivery": "delivery",
}
"""The other use cases that are compared with a create."""
MOST_FOR_NO_KEY_US = 1.0
"""The goal is nothing: this is less than two loads of one server differ by."""
MOST_NOISE = 1.05
"""Two loads of the same server differ by as much, although they cost the same."""
NEIGHBOUR = ("create", "log", "read", "list")
"""The workloads of a client beside one that sends ten times as much."""


def load_metric(peer: str, workload: str, field: str = "per_second") -> str:
    """The figure of a load at `CONNECTIONS` connections."""
    return f"{peer}.{workload}.{CONNECTIONS}.{field}"


def _at_least(title: str, figure: str, bound: float, over: str) -> Goal:
    return Goal(title, figure, Relation.AT_LEAST, bound, over=over, unit="x")


def _at_most(title: str, figure: str, bound: float, unit: str, over: str | None = None) -> Goal:
    return Goal(title, figure, Relation.AT_MOST, bound, over=over, unit=unit)


def _against(peer: str, title: str, workload: str, bound: float) -> Goal:
    ours = load_metric("strongroom", workload)
    return _at_least(f"{_short(workload)}: {title}", ours, bound, load_metric(peer, workload))


def _short(workload: str) -> str:
    short = {"list": "list of 50", "mix": "90/10 mix", "upsert": "upsert ten", "full": "full"}
    return short.get(workload, workload)


def _comparisons() -> tuple[Goal, ...]:
    return (
        *(_against("ceiling", "share of the ceiling", w, b) for w, (b, _, _) in SHARES.items()),
        *(
            _against(peer, f"times {title}", workload, bound)
            for peer, title in FASTIFY.items()
            for workload, (_, bound, _) in SHARES.items()
        ),
        *(_against("ordinary", "times the ordinary pool", w, b) for w, (_, _, b) in SHARES.items()),
    )


def _latencies() -> tuple[Goal, ...]:
    return (
        *(
            _at_most(f"{_short(w)}: P99", load_metric("strongroom", w, "p99"), bound, "ms")
            for w, bound in MOST_P99_MS.items()
        ),
        *(
            _at_most(f"{_short(w)}: P99.9 over 30 s", f"tail.{w}.p999", MOST_P999_MS, "ms")
            for w in SHARES
        ),
        _at_most("create, one connection: P50", "extremes.create.1.p50", 1.0, "ms"),
        _at_most("create, 1,024 connections: P99", "extremes.create.1024.p99", 300.0, "ms"),
        _at_most("create, 1,024 connections: errors", "extremes.create.1024.errors", 0.0, ""),
        _at_most(
            "reads beside a 500 ms query: P99 against the P99 without it",
            load_metric("strongroom", "read-beside", "p99"),
            2.0,
            "x",
            over=load_metric("strongroom", "read", "p99"),
        ),
        *(
            _at_most(
                f"{_short(w)} beside ten times the load: P99 against an equal neighbour",
                f"neighbour.{w}.beside_ten.p99",
                2.0,
                "x",
                over=f"neighbour.{w}.beside_one.p99",
            )
            for w in NEIGHBOUR
        ),
    )


def _answers() -> tuple[Goal, ...]:
    return (
        *(
            _at_most(
                f"a kept {_short(w)}: processor over a constant of uvicorn",
                f"kept.{w}.more",
                25.0,
                "µs",
            )
            for w in ("read", "list", "full")
        ),
        *(
            _at_least(
                f"{_short(w)} that is not kept: share of the ceiling",
                f"unkept.{w}.per_second",
                bound,
                f"unkept.ceiling-{w}.per_second",
            )
            for w, bound in (("read", 1.0), ("list", 0.9))
        ),
        _at_most(
            "list with runs that is not kept: processor against the list without",
            "unkept.list-runs.cpu_us",
            2.0,
            "x",
            over="unkept.list.cpu_us",
        ),
        *(
            _at_most(
                f"304 for a kept {_short(w)}: processor against the answer itself",
                f"conditional.{w}.with.cpu_us",
                MOST_NOISE,
                "x",
                over=f"conditional.{w}.without.cpu_us",
            )
            for w in ("read", "list")
        ),
    )


def _keys() -> tuple[Goal, ...]:
    return (
        _at_most(
            "create with an idempotency key: processor over one without",
            "conditional.create.with.more",
            60.0,
            "µs",
        ),
        _at_most(
            "a request without a key: processor for looking for one",
            "conditional.look",
            MOST_FOR_NO_KEY_US,
            "µs",
        ),
    )


def _clients() -> tuple[Goal, ...]:
    return tuple(
        _at_most(
            f"{title} with the package's client: processor over httpx",
            f"client.{kind}.more",
            120.0,
            "µs",
        )
        for kind, title in (
            ("read", "a read"),
            ("create", "a create"),
            ("read_sync", "a read without coroutines"),
        )
    )


def _other_use_cases() -> tuple[Goal, ...]:
    return (
        *(
            _at_least(
                f"{title}: rate against a create",
                f"uses.{name}.per_second",
                1.0,
                "uses.create.per_second",
            )
            for name, title in USE_CASES.items()
        ),
        Goal(
            "logs, a thousand in each request",
            "bulk.logs.rows_per_second",
            Relation.AT_LEAST,
            40_000.0,
            unit="rows/s",
        ),
        Goal(
            "test results, a thousand in each request",
            "bulk.test_results.rows_per_second",
            Relation.AT_LEAST,
            20_000.0,
            unit="rows/s",
        ),
    )


def _many_rows() -> tuple[Goal, ...]:
    return (
        *(
            Goal(
                f"{title}, a thousand in each request",
                f"logs.{kind}.rows_per_second",
                Relation.AT_LEAST,
                bound,
                unit="rows/s",
            )
            for kind, title, bound in (
                ("ndjson", "logs as NDJSON", 40_000.0),
                ("gzip", "logs as NDJSON, compressed", 40_000.0),
                ("junit", "test results as JUnit XML", 20_000.0),
            )
        ),
        _at_most(
            "a log in a project with 50 secrets: processor over one without",
            "redaction.plain.more",
            5.0,
            "µs",
        ),
        _at_most(
            "/health beside a scan for 50 secrets: P99",
            "redaction.scan.health.with.p99",
            50.0,
            "ms",
        ),
    )


def _streams() -> tuple[Goal, ...]:
    """Streams of events, and requests that wait for changes."""
    return (
        *(
            _at_most(
                f"streams: from a change to its event, 100 streams, 500 changes a second: {field}",
                f"streams.some.{field.lower()}",
                bound,
                "ms",
            )
            for field, bound in (("P50", 20.0), ("P99", 100.0))
        ),
        _at_most("streams: /health beside 2,000: P99", "streams.health.p99", 50.0, "ms"),
        _at_most("streams: memory of one of 2,000", "streams.kib_each", 40.0, "KiB"),
        *(
            _at_most(
                f"{title}: P99 from the change to the answer",
                f"streams.waits.{name}.p99",
                50.0,
                "ms",
            )
            for name, title in (
                ("read", "a GET that waits for a change"),
                ("claim", "a claim that waits for a run"),
            )
        ),
        _at_most(
            "1,000 requests that wait while nothing happens",
            "streams.waits.idle.with",
            2.0,
            "% of a processor",
        ),
    )


def _inside() -> tuple[Goal, ...]:
    return (
        _at_least(
            "the engine alone, 64 waiting writers: share of all writes in one transaction",
            "engine.write.engine",
            0.5,
            "engine.write.one_transaction",
        ),
        *(
            _at_most(
                f"{title}: more with guarded rows than without", f"guard.{name}.more", most, "µs"
            )
            for title, name, most in (("create", "create", 25.0), ("unkept reveal", "reveal", 30.0))
        ),
        _at_most(
            "page 1,000 of a million runs: cost against page 1",
            "depth.million.page1.per_second",
            1.2,
            "x",
            over="depth.million.page1000.per_second",
        ),
        _at_most(
            "page 1 of a million runs: cost against a thousand runs",
            "depth.thousand.page1.per_second",
            1.3,
            "x",
            over="depth.million.page1.per_second",
        ),
        _at_most(
            "projects with 10,000 runs each: cost of a list with runs against 10 each",
            "depth.thousand.projects.per_second",
            1.3,
            "x",
            over="depth.million.projects.per_second",
        ),
        _at_most(
            "resident size after 200,000 requests: against 20,000",
            "memory.requests.many.mib",
            1.05,
            "x",
            over="memory.requests.few.mib",
        ),
        _at_most(
            "peak memory of an import of 100,000 documents: against 10,000",
            "memory.import.many.mib",
            1.1,
            "x",
            over="memory.import.few.mib",
        ),
    )


def _search() -> tuple[Goal, ...]:
    """A million projects, over one connection."""
    most = {"rare": 5.0, "word": 5.0, "common": 5.0, "absent": 5.0, "two": 50.0, "one": 50.0}
    return (
        *(
            _at_most(
                f"search among a million projects, {kind}, {order}: P99",
                f"search.{kind}.{order}.p99",
                bound,
                "ms",
            )
            for kind, bound in most.items()
            for order in ("newest", "name")
        ),
        *(
            _at_most(
                f"look-ups beside six {title}: P99 against the P99 alone",
                f"search.lookup.{beside}.p99",
                2.0,
                "x",
                over="search.lookup.nothing.p99",
            )
            for beside, title in (("searches", "slow searches"), ("pages", "pages of 500"))
        ),
    )


def _growth() -> tuple[Goal, ...]:
    """An installation with many rows against one with a thousand of each kind."""
    return (
        *(
            _at_most(
                f"growth: {title}: P50 against a thousand",
                f"growth.{kind}.many.p50",
                1.3,
                "x",
                over=f"growth.{kind}.few.p50",
            )
            for kind, title in growth_kinds.KINDS.items()
        ),
        *(
            _at_most(
                f"growth: {title}: P99",
                f"growth.{kind}.many.p99",
                50.0 if kind.endswith("two") else 5.0,
                "ms",
            )
            for kind, title in growth_kinds.SEARCHES.items()
        ),
        _at_most("growth: start until ready", "growth.start.many.seconds", 1.5, "s"),
        Goal(
            "growth: a backup's estimated time, when a third is done, against the real one",
            "growth.backup.estimate",
            Relation.AT_LEAST,
            0.5,
            unit="x",
        ),
        Goal(
            "growth: logs removed while 1,000 a second arrive",
            "growth.retention.per_second",
            Relation.AT_LEAST,
            1_000.0,
            unit="rows/s",
        ),
    )


GOALS = (
    *_comparisons(),
    *_latencies(),
    *_answers(),
    *_keys(),
    *_clients(),
    *_other_use_cases(),
    *_many_rows(),
    *_inside(),
    *_search(),
    *_streams(),
    *_growth(),
)


def verdicts(metrics: Mapping[str, float]) -> list[Verdict]:
    """Every goal with its measured value, in the order of the table."""
    return [Verdict(goal, goal.value(metrics)) for goal in GOALS]


def too_slow(metrics: Mapping[str, float]) -> list[str]:
    """A sentence for each database operation of the API whose P95 is 50 ms or more."""
    operations = {
        w.title: load_metric("strongroom", w.name, "p95") for w in WORKLOADS if w.is_operation
    }
    for size, page in (("a million", "1"), ("a million", "1000"), ("a thousand", "1")):
        key = f"depth.{size.split()[1]}.page{page}.p95"
        operations[f"page {page} of {size} runs"] = key
    return [
        f"{title}: P95 is {metrics[key]:.1f} ms at {CONNECTIONS} connections"
        for title, key in operations.items()
        if metrics.get(key, 0.0) >= LIMIT_P95_MS
    ]
