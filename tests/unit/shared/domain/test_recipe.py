"""What a recipe may hold."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.domain.planning.plan import resolve
from shared.domain.recipe import Notify, Preference, Recipe, Reinforcement, ResolvedRecipe, Supervised

GRADER = {"name": "exact", "type": "string_check"}
OTHER = {"name": "cites", "type": "regex", "pattern": "x"}
REWARDS = {"type": "reinforcement", "graders": [OTHER]}


def read(**parts: Any) -> Recipe:
    return Recipe.model_validate({"base_model": "droptune/tiny-llama", **parts})


@pytest.mark.parametrize(
    ("method", "cls"),
    [({}, Supervised), ({"type": "supervised"}, Supervised), ({"type": "dpo"}, Preference), (REWARDS, Reinforcement)],
)
def test_the_type_of_a_method_is_supervised_unless_it_is_said(method: dict[str, Any], cls: type) -> None:
    assert type(read(method=method).method) is cls


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"method": {"type": "ppo"}}, "'supervised', 'dpo' or 'reinforcement'"),
        ({"method": {**REWARDS, "graders": [OTHER, OTHER]}}, "grader names must be unique"),
        ({"evaluation": {"graders": [GRADER, GRADER]}}, "grader names must be unique"),
        ({"method": REWARDS, "evaluation": {"graders": [{**OTHER, "name": "again"}]}}, "those of method.graders"),
        ({"deployment": {"rollout": []}}, "rise strictly and end at 100"),
        ({"deployment": {"rollout": [10, 50]}}, "rise strictly and end at 100"),
        ({"deployment": {"rollout": [50, 10, 100]}}, "rise strictly and end at 100"),
        ({"deployment": {"rollout": [50, 50, 100]}}, "rise strictly and end at 100"),
        ({"notify": [{"url": "https://example.com"}]}, "Extra inputs are not permitted"),
        ({"notify": [{"events": ["run.*"]}]}, "Field required"),
        ({"notify": [{"subscription": "Ops Team"}]}, "String should match pattern"),
        ({"notify": [{"subscription": "ops", "events": ["run.*"] * 51}]}, "at most 50 items"),
        ({"color": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(parts: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        read(**parts)


def test_a_run_that_named_addresses_is_read_without_them() -> None:
    resolved = resolve(read(), "shop", train_rows=100, characters_max=100)
    stored = resolved.model_dump(mode="json")
    stored["requested"]["notify"] = [
        {"url": "https://hooks.example/x", "channel": None, "events": ["*"]},
        {"url": None, "channel": "ops", "events": ["*"]},
        {"subscription": "ops", "events": ["*"]},
    ]
    assert ResolvedRecipe.model_validate(stored).requested.notify == (Notify(subscription="ops", events=("*",)),)


@pytest.mark.parametrize("rollout", [[100], [1, 100], [10, 50, 100]])
def test_a_rollout_that_rises_to_100_is_taken(rollout: list[int]) -> None:
    assert read(deployment={"rollout": rollout}).deployment.rollout == tuple(rollout)
