"""The figures that are not part of the comparison, and their titles."""

from bench.contestants import CONTESTANTS
from bench.goals import NEIGHBOUR, SHARES, USE_CASES
from bench.redacting import KINDS as LOGS
from bench.results import Results
from bench.tables import Row, number
from bench.workloads import BY_NAME as WORKLOADS

LOAD_TITLES = {"p50": "P50 ms", "p99": "P99 ms", "p999": "P99.9 ms"}
USE_TITLES = {
    "per_second": "requests a second",
    "cpu_us": "µs of the processor",
    "p99": "P99 ms",
    "p999": "P99.9 ms",
}

SEARCHES = {
    "rare": "a part that one has",
    "word": "a part that one in a thousand has",
    "common": "a part that all have",
    "absent": "a part that none has",
    "two": "two letters",
    "one": "one letter",
}
LOOK_UPS = {
    "nothing": "of a project, alone",
    "searches": "beside six searches for two letters",
    "pages": "beside six pages of 500",
}

FORMS = {
    "json": "logs as JSON",
    "ndjson": "logs as NDJSON",
    "gzip": "logs as NDJSON, compressed",
    "junit": "test results as JUnit XML",
}
SECRETS = {
    "without": "in a project without secrets",
    "with": "in one with 50",
    "more": "more with 50, in a pair",
}

CONDITIONS = {
    "read": ("read one project, kept", "200", "304"),
    "list": ("list 50 projects, kept", "200", "304"),
    "patch": ("change a project's name", "without If-Match", "with If-Match"),
}
KEYS = {
    "none": "in an application that knows of no idempotency keys",
    "without": "without Idempotency-Key",
    "with": "with Idempotency-Key",
}
TITLES = {
    "engine.write.engine": "engine, 64 waiting writers, writes a second",
    "engine.write.commit_each": "plain sqlite3, one thread, a COMMIT each, writes a second",
    "engine.write.one_transaction": "plain sqlite3, one thread, one transaction, writes a second",
    "engine.read.engine": "engine, 64 waiting readers, reads a second",
    "engine.read.plain": "plain sqlite3, one thread, reads a second",
    "depth.million.page1.per_second": "a million runs, page 1, requests a second",
    "depth.million.page1.p99": "a million runs, page 1, P99 ms",
    "depth.million.page1000.per_second": "a million runs, page 1,000, requests a second",
    "depth.million.page1000.p99": "a million runs, page 1,000, P99 ms",
    "depth.thousand.page1.per_second": "a thousand runs, page 1, requests a second",
    "guard.create.without": "create without guarded rows, 64 at once, µs of the processor",
    "guard.create.with": "create with them, µs",
    "guard.reveal.without": "unkept reveal without guarded rows, 64 at once, µs of the processor",
    "guard.reveal.with": "unkept reveal with them, µs",
    **{
        f"search.{kind}.{order}.{field}": f"a million projects, {what}, {by}, {LOAD_TITLES[field]}"
        for kind, what in SEARCHES.items()
        for order, by in (("newest", "newest first"), ("name", "by name"))
        for field in ("p50", "p99")
    },
    **{
        f"search.lookup.{beside}.{field}": f"look-up {what}, {LOAD_TITLES[field]}"
        for beside, what in LOOK_UPS.items()
        for field in ("p50", "p99")
    },
    **{
        f"search.lookup.{beside}.{field}": f"look-up {what}, share of time that the loop {does}"
        for beside, what in LOOK_UPS.items()
        for field, does in (("running", "runs"), ("waiting", "waits for a processor"))
    },
    "search.index.per_second": "projects that are indexed a second, by an idle server",
    "streams.creates.without": "64 connections create, creates a second",
    "streams.creates.with": "beside 100 streams of another project, creates a second",
    **{
        f"streams.{name}.{field}": f"{count} creates a second asked for, {what}"
        for name, count in (("some", "100 streams, 500"), ("many", "2,000 streams, 5"))
        for field, what in (
            ("writes_per_second", "creates a second"),
            ("p50", "from a change, before its COMMIT, to its event, P50 ms"),
            ("p99", "P99 ms"),
        )
    },
    "streams.health.p50": "/health beside 2,000 streams and these creates, P50 ms",
    "streams.health.p99": "/health beside them, P99 ms",
    "streams.kib_each": "memory of a stream, KiB",
    **{
        f"streams.waits.{name}.{field}": f"{what}, {title}"
        for name, what in (
            ("read", "from a change to the answer of a GET that waits for it"),
            ("claim", "from a new run to the answer of a claim that waits for it"),
        )
        for field, title in (
            ("p50", "P50 ms"),
            ("p99", "P99 ms"),
            ("behind", "P99 ms after the answer to the change"),
        )
    },
    "streams.waits.idle.without": "an idle server, % of a processor",
    "streams.waits.idle.with": "the same with 1,000 requests that wait, % of a processor",
    "streams.waits.same.asked": "500 requests follow one resource, queries for each change",
    "streams.waits.same.last": "from such a change until all of them have their answer, ms",
    "memory.requests.few.count": "requests of every kind, the fewer",
    "memory.requests.few.mib": "resident after the fewer, MiB",
    "memory.requests.many.count": "requests of every kind, the more",
    "memory.requests.many.mib": "resident after the more, MiB",
    "memory.import.few.mib": "import of 10,000 documents, peak MiB",
    "memory.import.many.mib": "import of 100,000 documents, peak MiB",
    "memory.import.many.per_second": "import of 100,000 documents, documents a second",
    **{
        f"extremes.create.{connections}.{field}": f"create, {number_of} connections, {title}"
        for connections, number_of in ((1, "one"), (1024, "1,024"))
        for field, title in LOAD_TITLES.items()
    },
    **{
        f"tail.{name}.{field}": f"{WORKLOADS[name].title} for 30 s, {title}"
        for name in SHARES
        for field, title in LOAD_TITLES.items()
    },
    **{
        f"kept.{peer}{name}.cpu_us": f"{WORKLOADS[name].title}, {by}, µs of the processor"
        for name in ("read", "list", "full")
        for peer, by in (("", "kept"), ("raw-", "a constant of uvicorn"))
    },
    **{
        f"unkept.{peer}{name}.per_second": f"{WORKLOADS[name].title}, {by}, requests a second"
        for name in ("read", "list")
        for peer, by in (("", "not kept"), ("ceiling-", "the ceiling beside it"))
    },
    **{
        f"conditional.{kind}.{how}.{field}": f"{what}, {by}, {USE_TITLES[field]}"
        for kind, (what, *ways) in CONDITIONS.items()
        for how, by in zip(("without", "with"), ways, strict=True)
        for field in ("per_second", "cpu_us")
    },
    **{
        f"conditional.create.{how}.{field}": f"create, {by}, {USE_TITLES[field]}"
        for how, by in KEYS.items()
        for field in ("per_second", "cpu_us")
    },
    **{
        f"conditional.create.{how}.more": f"create, {by}, more in a pair, µs of the processor"
        for how, by in (
            ("without", "without a key and where there are none"),
            ("with", "with a key and without"),
        )
    },
    "conditional.look": "a request without Idempotency-Key, looking for one, µs of the processor",
    **{
        f"neighbour.{name}.{beside}.p99": f"{WORKLOADS[name].title}, 8 connections by {by}, P99 ms"
        for name in NEIGHBOUR
        for beside, by in (("beside_one", "8"), ("beside_ten", "80"))
    },
    **{
        f"uses.{name}.{field}": f"{use}, {title}"
        for name, use in {"create": "create (beside the other use cases)", **USE_CASES}.items()
        for field, title in USE_TITLES.items()
    },
    "growth.backup.estimate": "estimated time of a backup, when a third is done, against the real",
    "growth.retention.per_second": "logs removed while 1,000 a second arrive, rows a second",
    "growth.retention.read.p99": "a look-up of a run meanwhile, P99 ms",
    "bulk.logs.rows_per_second": "logs, a thousand in each request, rows a second",
    "bulk.test_results.rows_per_second": "test results, a thousand in each request, rows a second",
    **{
        f"logs.{form}.{field}": f"{what}, a thousand in each request, {title}"
        for form, what in FORMS.items()
        for field, title in (
            ("rows_per_second", "rows a second"),
            ("cpu_us", "µs of the processor for each row"),
        )
    },
    **{
        f"redaction.{kind}.{how}": f"logs {what}, stored {by}, µs of the processor for each"
        for kind, what in LOGS.items()
        for how, by in SECRETS.items()
    },
    **{
        f"redaction.patterns.{kind}": f"logs {what}, redaction alone, µs for each"
        for kind, what in LOGS.items()
    },
    "redaction.patterns.build": "the patterns of 50 secrets, made once, µs",
    **{
        f"redaction.http.{how}.{field}": f"create a log {SECRETS[how]}, {USE_TITLES[field]}"
        for how in ("without", "with")
        for field in ("per_second", "cpu_us", "p99")
    },
    "redaction.http.more": "create a log, more with 50 secrets, in a pair, µs of the processor",
    "redaction.scan.per_second": "a scan for 50 secrets, logs a second",
    **{
        f"redaction.scan.health.{when}.{field}": f"/health {what}, {LOAD_TITLES[field]}"
        for when, what in (("without", "before a scan"), ("with", "beside a scan"))
        for field in ("p50", "p99")
    },
    **{
        f"slow_query.{contestant.name}.ms": f"the slow query beside {contestant.title}, ms"
        for contestant in CONTESTANTS
    },
}


def rows(results: Results) -> list[Row]:
    """The figures that are not part of the comparison, each with a title."""
    metrics = results.metrics()
    return [(title, number(metrics[name])) for name, title in TITLES.items() if name in metrics]
