"""The service consists of families, each with its own methods over one kit."""

import inspect

from backend.services.base import UseCases
from backend.services.database_service import DatabaseService

GIVEN = {"create_project_with_settings", "get_project_full_config", "update_project_secrets"}


def families(service: DatabaseService) -> dict[str, UseCases]:
    """The families by name."""
    return {name: item for name, item in vars(service).items() if isinstance(item, UseCases)}


def test_the_service_itself_has_the_given_methods_only() -> None:
    own = {name for name in vars(DatabaseService) if not name.startswith("_")}
    assert own == GIVEN


def test_each_family_is_a_class_of_its_own_over_the_same_kit(service: DatabaseService) -> None:
    found = families(service)
    assert {type(family).__bases__ for family in found.values()} == {(UseCases,)}
    # One class serves the indexes of projects and of runs.
    assert len({type(family) for family in found.values()}) == len(found) - 1 > 15
    assert {id(family.kit) for family in found.values()} == {id(service.kit)}
    assert service.kit.gate is service.tokens


def test_no_method_hides_a_type(service: DatabaseService) -> None:
    for family in families(service).values():
        methods = {name for name, _ in inspect.getmembers(type(family), inspect.isfunction)}
        assert not methods & {"list", "set", "dict", "tuple", "type"}, type(family)
