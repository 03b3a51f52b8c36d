"""The table of names that other tools use."""

from __future__ import annotations

from typing import Any

from shared.domain.recipe import Recipe
from shared.validation import suggestions


def test_every_name_of_another_tool_leads_to_a_setting_or_value_that_exists() -> None:
    nodes = _all_nodes(Recipe.model_json_schema())
    settings = {name for node in nodes for name in node.get("properties", {})}
    assert suggestions._OTHER_NAMES.keys() <= settings
    values = {value for node in nodes for value in suggestions._values(node)}
    assert {ours for names in suggestions._VALUES_OF_OTHER_TOOLS.values() for ours in names} <= values
    # `type` is a name of ours that other tools give to another of ours.
    assert settings & suggestions._SETTINGS_OF_OTHER_TOOLS.keys() == {"type"}
    assert not settings & suggestions._REASONS.keys()


def test_a_name_without_a_setting_is_in_the_other_table_only_where_it_may_be_a_section_too() -> None:
    both = suggestions._SETTINGS_OF_OTHER_TOOLS.keys() & suggestions._REASONS.keys()
    assert both == {"dataset", "datasets", "train_dataset"}


def _all_nodes(node: Any) -> list[dict[str, Any]]:
    if isinstance(node, list):
        return [found for child in node for found in _all_nodes(child)]
    if not isinstance(node, dict):
        return []
    return [node, *(found for child in node.values() for found in _all_nodes(child))]
