"""What the section `growth` asks for, by name."""

DEEP_PAGE = 200
KINDS = {
    "create": "create a project with settings and a secret",
    "create-run": "create a run",
    "read": "read a project",
    "by-repo": "read a project by its repository",
    "read-run": "read a run",
    "projects": "projects, first page",
    "projects-deep": f"projects, page {DEEP_PAGE}",
    "projects-owner": "projects of an owner by name",
    "runs": "runs, first page",
    "runs-deep": f"runs, page {DEEP_PAGE}",
    "runs-project": "runs of a project",
    "runs-status": "failed or completed runs by their last change",
    "runs-worker": "runs of a worker",
    "runs-time": "runs of a range of time",
    "logs": "logs, first page",
    "claim": "claim a run",
}
"""What is asked of both, and must cost about the same."""
SEARCHES = {
    "search-rare": "search for what one project has",
    "search-word": "search for a word of projects",
    "search-common": "search for what all projects have",
    "search-absent": "search for what no project has",
    "search-two": "search for two letters of projects",
    "search-runs-rare": "search for what one run has",
    "search-runs-word": "search for a word of runs",
    "search-runs-common": "search for what all runs have",
    "search-runs-absent": "search for what no run has",
    "search-runs-two": "search for two letters of runs",
    "search-runs-updated": "search for a word of runs by their last change",
}
"""What is asked of both, and has a bound of its own."""
