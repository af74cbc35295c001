"""The service whose units can run as one."""

import pytest


@pytest.fixture
def as_one(request: pytest.FixtureRequest) -> None:
    """For tests that count the units that run as one: there are none when each unit runs twice."""
    if request.config.getoption("--units-twice"):
        pytest.skip("each unit runs twice, the second time on its own")
