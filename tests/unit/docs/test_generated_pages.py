"""The pages of docs/reference that follow from the code are those the code gives. `make docs` writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, Field

from docs.generator import PAGES, errors, path_of, raises, recipe
from docs.generator.schema import keys_of
from shared.domain.errors import DroptuneError
from shared.domain.findings import Findings
from shared.domain.recipe import Recipe
from shared.rendering.check import TOKEN_CODES
from shared.validation.codes import CODES, CONTENT_CODES
from shared.validation.recipes import read_recipe
from tests.paths import ROOT


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_the_one_the_code_gives(name: str) -> None:
    assert path_of(name).read_text(encoding="utf-8") == PAGES[name](), "run `make docs`"


def test_the_index_marks_the_pages_that_are_generated() -> None:
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\(reference/([\w-]+\.md)\) \*", index)) == set(PAGES)


def example() -> str:
    found = re.search(r"```yaml\n(.*?)```", path_of("recipe.md").read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_documented_recipe_is_accepted_by_the_validator() -> None:
    findings = Findings(CODES)
    assert read_recipe(example().encode(), "droptune/tiny-llama", findings) is not None
    assert findings.problems() == ()


def keys(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from keys(type(field.default), f"{path}{name}.")
        else:
            yield f"{path}{name}"


def given(raw: dict[str, Any], path: str = "") -> Iterator[str]:
    for name, value in raw.items():
        if isinstance(value, dict) and value:
            yield from given(value, f"{path}{name}.")
        else:
            yield f"{path}{name}"


def test_the_documented_recipe_names_every_key_of_a_supervised_recipe() -> None:
    assert sorted(given(yaml.safe_load(example()))) == sorted(keys(Recipe))


def test_a_key_without_a_description_stops_the_generator() -> None:
    class Silent(BaseModel):
        named: int = Field(default=1, description="a number")
        unnamed: int = 2

    with pytest.raises(ValueError, match=r"Silent\.unnamed has no description"):
        list(keys_of(Silent))


def test_a_code_is_found_with_its_class_and_its_message_wherever_it_is_raised() -> None:
    source = """
def step(run):
    message = f"no {run.model} is there"
    if run.lost:
        raise PermanentFailure(FailureClass.DATA, "lost", message)
    raise _refusal("forbidden", "not allowed")

def _refusal(code, message):
    return PermanentFailure(FailureClass.RECIPE, code, message)
"""
    assert {(r.code, r.kind, r.message) for r in raises.in_module(source, "Problem", "x.py")} == {
        ("lost", "data", "no … is there"),
        ("forbidden", "recipe", "not allowed"),
    }


def test_the_error_tree_names_every_error_class() -> None:
    page = errors.page()
    own = [cls for cls in DroptuneError.__subclasses__() if cls.__module__ == DroptuneError.__module__]
    assert len(own) >= 6
    assert all(f"── {cls.__name__}: " in page for cls in own)


def test_every_grader_type_has_its_settings_on_the_page() -> None:
    kinds = [str(grader.model_fields["type"].default) for grader in recipe.grader_types()]
    assert "multi" in kinds
    assert re.findall(r"^### (\w+)$", path_of("recipe.md").read_text(encoding="utf-8"), re.MULTILINE) == kinds


def test_no_code_of_validation_is_in_two_tables() -> None:
    names = [*CODES, *CONTENT_CODES, *TOKEN_CODES]
    assert len(names) == len(set(names))
