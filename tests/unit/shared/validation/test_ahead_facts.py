"""What a row shows by itself."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.recipe import Recipe
from shared.validation.ahead import FactFinder, Facts, policy_of
from shared.validation.compared import content_of
from shared.validation.content.row_scan import RowScan
from shared.validation.rows import row_of


def facts(answer: str, **data: Any) -> Facts | None:
    recipe = Recipe.model_validate({"base_model": "droptune/tiny-llama", "data": data})
    messages = [{"role": "user", "content": "Who wrote it?"}, {"role": "assistant", "content": answer}]
    row = row_of({"messages": messages, "item": {}})
    found = FactFinder(recipe, RowScan(policy_of(recipe))).facts(row, is_chat=True, held_out=False)
    assert found is None or found.content == content_of(row)
    return found


def test_a_row_has_its_label_its_fields_and_its_extent() -> None:
    plain = facts("  The Author. ")
    assert plain is not None
    assert (plain.found, plain.label, plain.fields) == ([], "  The Author. ", [])
    assert (plain.extent.messages, plain.extent.characters) == (2, len("Who wrote it?  The Author. "))
    fields = facts('{"kind": "Bolt"}')
    assert fields is not None
    assert [(name, value) for name, value, _ in fields.fields] == [("kind", "Bolt")]


@pytest.mark.parametrize(("personal_data", "is_left"), [("block", True), ("allow", True), ("redact", False)])
def test_a_row_that_may_have_to_be_redacted_is_left_to_who_numbers_the_values(
    personal_data: str, is_left: bool
) -> None:
    assert (facts("ask ada@example.com", personal_data=personal_data) is not None) is is_left
