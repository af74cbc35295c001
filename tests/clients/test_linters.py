"""The recommended rules of Redocly and of Spectral hold for openapi.json."""

import json

from tests.clients.tools import HERE, Node
from tests.support.tree import ROOT

DOCUMENT = ROOT / "openapi.json"
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


def test_the_rules_of_redocly_hold(node: Node) -> None:
    options = ("--config=redocly.yaml", "--format=json", "--max-problems=1000")
    told = json.loads(node.run("redocly", "lint", DOCUMENT, *options, cwd=HERE, env=QUIET))
    # Each ignored one has its reason in `.redocly.lint-ignore.yaml`.
    assert told["totals"] == {"errors": 0, "warnings": 0, "ignored": 2}, told["problems"]


def test_the_rules_of_spectral_hold(node: Node) -> None:
    options = ("--ruleset=spectral.yaml", "--format=json", "--fail-severity=hint", "--quiet")
    told = node.run("spectral", "lint", DOCUMENT, *options, cwd=HERE)
    assert json.loads(told) == []
