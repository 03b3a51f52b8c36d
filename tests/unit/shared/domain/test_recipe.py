"""What a recipe may hold."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.domain.recipe import Notify, Preference, Recipe, Reinforcement, Supervised

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
        ({"notify": [{"url": "https://example.com:99999"}]}, "not a URL with a valid host and port"),
        ({"notify": [{"events": ["run.*"]}]}, "either url or channel"),
        ({"notify": [{"url": "https://example.com", "channel": "ops"}]}, "either url or channel"),
        ({"notify": [{"channel": "Ops Team"}]}, "String should match pattern"),
        ({"notify": [{"channel": "ops", "events": ["run.*"] * 51}]}, "at most 50 items"),
        ({"color": "red"}, "Extra inputs are not permitted"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(parts: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        read(**parts)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://hooks.example.org/T0/B1/token", "https://hooks.example.org/***"),
        ("https://hooks.example.org?token=x", "https://hooks.example.org/***"),
        ("https://hooks.example.org#token", "https://hooks.example.org/***"),
        ("https://jane:token@hooks.example.org:8443/x", "https://hooks.example.org:8443/***"),
        ("http://[::1]:80", "http://[::1]:80/***"),
    ],
)
def test_of_a_masked_channel_the_host_is_left(url: str, host: str) -> None:
    [channel] = read(notify=[{"url": url, "events": ["run.*"]}]).notify
    assert channel.masked() == Notify(url=host, events=("run.*",))
    named = Notify(channel="ops")
    assert (named.masked(), named.receiver, channel.receiver) == (named, "channel:ops", url)


@pytest.mark.parametrize("rollout", [[100], [1, 100], [10, 50, 100]])
def test_a_rollout_that_rises_to_100_is_taken(rollout: list[int]) -> None:
    assert read(deployment={"rollout": rollout}).deployment.rollout == tuple(rollout)
