"""Short forms for scans."""

from collections import Counter

from tests.support.api import Api, Json

VALUE = "a made-up value/of+a secret"
OTHER = "another made-up value"
SECRETS = [{"key": "KEY", "value": VALUE}]
SCAN = "/api/projects/1/secrets/scan"


async def set_secret(api: Api, key: str = "KEY", value: str = VALUE, project_id: int = 1) -> None:
    response = await api.client.put(
        f"/api/projects/{project_id}/secrets/{key}", json={"value": value}
    )
    assert response.is_success, response.text


async def scan(api: Api, path: str = SCAN) -> Json:
    """The answer to a scan that needs only one."""
    answer: Json = await api.post(path)
    assert answer["next_cursor"] is None
    return answer


def counts(found: list[Json]) -> Counter[tuple[str, str]]:
    """How often the value of each secret stands in each resource."""
    counted: Counter[tuple[str, str]] = Counter()
    for one in found:
        counted[one["key"], one["resource"]] += one["count"]
    return counted
