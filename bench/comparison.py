"""The comparison: every server and every workload in turns, round after round."""

import shutil
from collections.abc import Callable
from pathlib import Path

from bench import wrk
from bench.client import Client, seed, slow_queries, slow_query_size
from bench.contestants import Contestant
from bench.options import Options
from bench.processes import Server
from bench.results import LoadKey, Results, Sample
from bench.workloads import PROJECTS, Workload

Say = Callable[[str], None]


class Comparison:
    """One run of the comparison. `run` raises `BenchError` when a server does not start."""

    def __init__(self, options: Options, work: Path, results: Results, say: Say) -> None:
        self._options = options
        self._work = work
        self._results = results
        self._say = say
        self._lacks: set[tuple[str, str]] = set()

    def run(self, contestants: list[Contestant]) -> None:
        """Seed each server's data, then measure them in turns."""
        if not self._options.workloads:
            return
        for contestant in contestants:
            self._prepare(contestant)
        for number in range(self._options.rounds):
            # Each round starts with another server, so that none always gets an idle machine.
            start = number % len(contestants) if contestants else 0
            for contestant in contestants[start:] + contestants[:start]:
                self._say(f"round {number + 1} of {self._options.rounds}: {contestant.title}")
                self._measure(contestant, number)

    def seconds(self, contestants: int) -> float:
        """About how long it will take."""
        options = self._options
        each = options.seconds + options.warm_up + 1.0
        total = 0.0
        for number in range(options.rounds):
            loads = sum(len(options.connections_in(number, w)) for w in options.workloads)
            total += contestants * (loads * each + 5)
        return total

    def _prepare(self, contestant: Contestant) -> None:
        """Seed its data directory once; every round works on a copy."""
        self._say(f"seeding: {contestant.title}")
        data_dir = self._seeded(contestant)
        data_dir.parent.mkdir(parents=True)
        with (
            contestant.running(data_dir, beside=True) as server,
            Client(server.port, contestant.token(data_dir)) as client,
        ):
            seed(client)
            for workload in self._options.workloads:
                if not client.has(*workload.probe):
                    self._lacks.add((contestant.name, workload.name))
                    self._results.note(f"{contestant.title} does not have: {workload.title}")

    def _seeded(self, contestant: Contestant) -> Path:
        return self._work / "seeded" / contestant.name / "data"

    def _measure(self, contestant: Contestant, number: int) -> None:
        mine = [w for w in self._options.workloads if (contestant.name, w.name) not in self._lacks]
        for beside in (False, True):
            chosen = [
                w
                for w in mine
                if w.beside_query is beside and self._options.connections_in(number, w)
            ]
            if chosen:
                self._measure_on_copy(contestant, chosen, beside, number)

    def _measure_on_copy(
        self, contestant: Contestant, chosen: list[Workload], beside: bool, number: int
    ) -> None:
        folder = self._work / "round"
        shutil.rmtree(folder, ignore_errors=True)
        data_dir = folder / "data"
        source = self._seeded(contestant)
        if source.exists():
            shutil.copytree(source, data_dir)
        else:
            folder.mkdir()
        with contestant.running(data_dir, beside=beside) as server:
            token = contestant.token(data_dir)
            for workload in chosen:
                for connections in self._options.connections_in(number, workload):
                    key = LoadKey(contestant.name, workload.name, connections)
                    self._load(key, workload, server, token)

    def _load(self, key: LoadKey, workload: Workload, server: Server, token: str) -> None:
        requests = wrk.Requests(workload.script, token, PROJECTS)
        # A slow server may still work on the last load, which must not count in this one.
        server.settle()
        if self._options.warm_up:
            seconds = self._options.warm_up
            wrk.load(server.port, requests, connections=key.connections, seconds=seconds)
            server.settle()
        if not workload.beside_query:
            self._measured(key, requests, server)
            return
        size = slow_query_size(server.port, token)
        with slow_queries(server.port, token, size) as queries:
            self._measured(key, requests, server)
        taken = self._results.figures.setdefault(f"slow_query.{key.peer}.ms", [])
        taken.append(queries.seconds() * 1000)

    def _measured(self, key: LoadKey, requests: wrk.Requests, server: Server) -> None:
        options = self._options
        if not server.reset_peak():
            self._results.note("peak memory is that since the start: clear_refs is not permitted")
        before = server.cpu_seconds()
        load = wrk.load(server.port, requests, connections=key.connections, seconds=options.seconds)
        cpu = server.cpu_seconds() - before
        if load.requests:
            # Without answers there is no latency, and 0 would look like the best one.
            self._results.add(
                key,
                Sample(
                    per_second=load.per_second,
                    p50=load.p50,
                    p95=load.p95,
                    p99=load.p99,
                    p999=load.p999,
                    longest=load.longest,
                    cpu_seconds=cpu,
                    cpu_us=cpu / load.requests * 1_000_000,
                    peak_mib=server.memory_mib("VmHWM"),
                ),
            )
        silent = not load.requests
        if silent and key.peer != "strongroom":
            # A server that a slow query blocks completely is a finding of this load, not a failure.
            self._results.note(f"{key.peer} gave no answer in time: {key.workload}")
            silent = False
        if load.errors or silent:
            what = ", ".join(f"{count} {kind}" for kind, count in load.errors.items())
            self._results.failures.append(
                f"{key.peer}, {key.workload}, {key.connections} connections: {what or 'no answer'}"
            )
        self._say(
            f"  {key.workload:12} {key.connections:4} connections "
            f"{load.per_second:9.0f}/s  p50 {load.p50:7.2f}  p95 {load.p95:7.2f}  "
            f"p99 {load.p99:7.2f} ms"
        )
