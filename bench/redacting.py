"""What redaction takes of a log: the same logs in a project without secrets and in one with fifty.

They are stored in turns, in one process and without a network, a thousand at a time, as processor
time of the whole process. The patterns alone are measured too, for texts of several kinds.
"""

import argparse
import base64
import gc
import json
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import uvloop
from pydantic import TypeAdapter

from backend.runtime import Runtime
from backend.schemas.logs import LogSubmission
from backend.schemas.projects import ProjectCreate
from backend.services.redaction.patterns import SecretPatterns
from bench.logs import BATCH, Source
from bench.workloads import project_body
from config.settings import Settings

SECRETS: Final = 50
KINDS: Final = {
    "plain": "of words and numbers",
    "escaped": "with a URL, a quotation and two lines each",
    "leaking": "of which one in a hundred has a value, encoded in different ways",
}
"""The logs that are stored."""
FIGURES = (
    *(f"redaction.{kind}.{how}" for kind in KINDS for how in ("without", "with", "more")),
    *(f"redaction.patterns.{kind}" for kind in KINDS),
    "redaction.patterns.build",
)
_ESCAPE: Final = re.compile("%..")
_SUBMISSION: Final[TypeAdapter[Any]] = TypeAdapter(LogSubmission)


def secrets() -> list[dict[str, str]]:
    """Fifty secrets of ordinary kinds: passwords, tokens, URLs, and a few keys of many lines."""
    rng = random.Random(2)  # noqa: S311 - repeatable, not secret
    made = []
    for number in range(SECRETS):
        octets = rng.randbytes(48)
        values = (
            octets.hex()[:40],
            f"ghp_{base64.b64encode(octets).decode()[:36]}",
            f"postgresql://app:p%40ss+{octets.hex()[:24]}@db-{number}.internal/app?ssl=true",
            f'{{"token": "{octets.hex()}", "id": {number}}}',
            "\n".join(base64.b64encode(rng.randbytes(48)).decode() for _ in range(12)),
        )
        made.append({"key": f"SECRET_{number}", "value": values[number % len(values)]})
    return made


def forms(value: str) -> list[str]:
    """The value as it is and encoded in each way that redaction knows."""
    octets = value.encode()
    return [
        value,
        *(base64.b64encode(b"-" * before + octets).decode() for before in range(3)),
        base64.urlsafe_b64encode(octets).decode(),
        quote(value, safe=""),
        _ESCAPE.sub(lambda found: found[0].lower(), quote(value, safe="")).replace("%20", "+"),
        json.dumps(value)[1:-1],
        json.dumps(value)[1:-1].replace("/", r"\/"),
        "".join(f"\\u{ord(character):04x}" for character in value),
    ]


class Logs:
    """Makes batches of logs of each kind."""

    def __init__(self) -> None:
        self._source = Source()
        self._rng = random.Random(3)  # noqa: S311 - repeatable, not secret
        self._leaks = [form for one in secrets() for form in forms(one["value"])]

    def batch(self, kind: str) -> list[dict[str, Any]]:
        """The next thousand logs."""
        logs = [self._source.log() for _ in range(BATCH)]
        for number, log in enumerate(logs):
            if kind == "escaped":
                log["message"] += (
                    f' GET "/a%20b?x={number}+1" failed:\n  File "/srv/app.py", line {number}'
                )
            if kind == "leaking" and number % 100 == 7:
                log["message"] += f" token={self._rng.choice(self._leaks)[:9000]}"
        return logs


async def measure(data_dir: Path, rounds: int) -> dict[str, float]:
    """Microseconds of processor time for each log, by metric: the medians of all rounds."""
    runtime = await Runtime.start(Settings(_env_file=None, data_dir=data_dir))
    taken: dict[str, list[float]] = {}
    try:
        ids = {}
        for number, (how, some) in enumerate((("without", []), ("with", secrets()))):
            body = ProjectCreate.model_validate({**project_body(number), "secrets": some})
            ids[how] = (await runtime.service.projects.create(body)).id
        made = Logs()
        for number in range(rounds):
            for kind in KINDS:
                logs = made.batch(kind)
                # Each is the first of a pair in its turn: the second one finds the memory warm.
                for how in ("with", "without") if number % 2 else ("without", "with"):
                    given = _SUBMISSION.validate_python(
                        {"logs": [{**log, "project_id": ids[how]} for log in logs]}
                    )
                    gc.collect()
                    gc.disable()
                    began = time.process_time()
                    await runtime.service.logs.append(given)
                    seconds = time.process_time() - began
                    gc.enable()
                    taken.setdefault(f"redaction.{kind}.{how}", []).append(seconds / BATCH * 1e6)
    finally:
        await runtime.stop()
    figures = {name: statistics.median(values) for name, values in taken.items()}
    for kind in KINDS:
        # In pairs, because the machine's speed changes more from second to second than what is
        # measured.
        pairs = zip(
            taken[f"redaction.{kind}.with"], taken[f"redaction.{kind}.without"], strict=True
        )
        figures[f"redaction.{kind}.more"] = statistics.median(more - less for more, less in pairs)
    return figures


def measure_patterns(rounds: int) -> dict[str, float]:
    """Microseconds for each log that the patterns take, and for making them once."""
    values = {one["key"]: one["value"] for one in secrets()}
    built = min(_seconds(lambda: SecretPatterns(values)) for _ in range(rounds)) * 1e6
    figures = {"redaction.patterns.build": built}
    patterns, made = SecretPatterns(values), Logs()
    for kind in KINDS:
        texts = [
            text
            for log in made.batch(kind)
            for text in (log["message"], *map(str, log["context"].values()))
        ]

        def redact(texts: list[str] = texts) -> None:
            for text in texts:
                patterns.redact(text)

        least = min(_seconds(redact) for _ in range(rounds))
        figures[f"redaction.patterns.{kind}"] = least / BATCH * 1e6
    return figures


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
        found = uvloop.run(measure(Path(folder) / "data", arguments.rounds))
    print(json.dumps({**found, **measure_patterns(arguments.rounds)}))


if __name__ == "__main__":
    main()
