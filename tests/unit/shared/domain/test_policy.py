"""The policy: what a recipe may be, what it becomes where it leaves a setting open, and who owns what."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import product
from math import inf
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.domain.model import Frozen
from shared.domain.planning.plan import resolve
from shared.domain.policy import AppliedPolicy, Limit, PlatformPolicy
from shared.domain.recipe import Recipe

BASE = "droptune/tiny-llama"
GATE = "evaluation.gate."
GENERAL = GATE + "max_general_regression"


def policy(**limits: Any) -> PlatformPolicy:
    return PlatformPolicy.model_validate({"limits": {path.replace("__", "."): limit for path, limit in limits.items()}})


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"base_model": BASE, **sections})


def violated(rules: PlatformPolicy, found: Recipe, project: str = "shop") -> list[str | None]:
    resolved = resolve(found, project, train_rows=100, characters_max=100)
    return [problem.param for problem in rules.violations(found, project, resolved)]


@pytest.mark.parametrize(
    ("path", "limit", "section", "value", "becomes"),
    [
        ("deployment.approval", {"one_of": ["required"]}, "deployment", {"approval": "automatic"}, "required"),
        (GATE + "min_rows", {"at_least": 50}, "evaluation", {"gate": {"min_rows": 2}}, 50),
        (GATE + "min_score", {"at_least": 0.5}, "evaluation", {"gate": {"min_score": 0.1}}, 0.5),
        (GATE + "max_regression", {"at_most": 0.01}, "evaluation", {"gate": {"max_regression": 1}}, 0.01),
        (GENERAL, {"at_most": 0.1}, "evaluation", {"gate": {"max_general_regression": None}}, 0.05),
        (GATE + "gain_over_lookup", {"at_least": 0}, "evaluation", {"gate": {"gain_over_lookup": None}}, 0),
        (GATE + "confidence", {"at_least": 0.99}, "evaluation", {"gate": {"confidence": 0.5}}, 0.99),
        ("budget.max_usd", {"at_most": 10}, "budget", {"max_usd": 10.01}, 10),
        ("budget.deadline_hours", {"at_most": 2}, "budget", {"deadline_hours": 100}, 2),
        ("budget.tier", {"one_of": ["dedicated"]}, "budget", {"tier": "spot"}, "dedicated"),
        ("deployment.instances", {"at_least": 2, "at_most": 3}, "deployment", {"instances": 4}, 2),
        ("deployment.keep_previous_hours", {"at_least": 48}, "deployment", {"keep_previous_hours": 0}, 48),
        ("deployment.idle_hours", {"at_most": 24}, "deployment", {"idle_hours": None}, 24),
    ],
)
def test_what_a_recipe_leaves_open_is_tightened_and_what_it_loosens_is_refused(
    path: str, limit: dict[str, Any], section: str, value: dict[str, Any], becomes: Any
) -> None:
    rules = policy(**{path: limit})
    tightened, changed = rules.tightened(recipe(), "shop")
    assert violated(rules, tightened) == []
    found: Any = tightened
    for name in path.split("."):
        found = getattr(found, name)
    assert found == becomes
    assert set(changed) <= {path}
    loose = recipe(**{section: value})
    assert rules.tightened(loose, "shop") == (loose, {}), "what it says is not changed behind its back"
    assert violated(rules, loose) == [path]


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("data.personal_data", {"one_of": ["allow"]}),
        ("data.validation_split", {"at_least": 0.4}),
        ("base_model", {"one_of": ["microsoft/Phi-4"]}),
    ],
)
def test_what_the_rows_were_read_with_is_not_said_to_be_another_afterwards(path: str, limit: dict[str, Any]) -> None:
    rules = policy(**{path: limit})
    assert rules.tightened(recipe(), "shop") == (recipe(), {})
    assert violated(rules, recipe()) == [path]


def test_a_stricter_recipe_is_left_as_it_is() -> None:
    rules = policy(**{GATE + "min_rows": {"at_least": 50}, "budget.max_usd": {"at_most": 10}})
    strict = recipe(evaluation={"gate": {"min_rows": 80}}, budget={"max_usd": 5})
    assert rules.tightened(strict, "shop") == (strict, {})
    assert violated(rules, strict) == []


@pytest.mark.parametrize(
    ("chosen", "violates"), [("auto", []), ("Standard_D16s_v5", ["budget.instance_type"]), ("Standard_NC4as_T4_v3", [])]
)
def test_before_a_machine_was_chosen_the_one_that_the_recipe_names_counts(chosen: str, violates: list[str]) -> None:
    rules = policy(**{"budget.instance_type": {"one_of": ["Standard_NC*"]}})
    named = recipe(budget={"instance_type": chosen})
    assert [problem.param for problem in rules.violations(named, "shop", None)] == violates


def test_a_run_says_which_version_and_limits_it_was_held_to() -> None:
    own = {"limits": {"budget.max_usd": {"at_most": 5}}, "intended_uses": ["military", "weapons"]}
    limits = {"budget.max_usd": {"at_most": 10}, "base_model": {"one_of": ["microsoft/*", BASE]}}
    rules = {"limits": limits, "notify_hosts": [], "projects": {"shop": own, "bank": {"notify_hosts": ["a", "b"]}}}
    applied = AppliedPolicy(version=3, policy=PlatformPolicy.model_validate(rules))
    base = {"base_model": f"microsoft/* or {BASE} (the platform)"}
    assert applied.in_force("shop").model_dump() == {
        "version": 3,
        "limits": {
            **base,
            "budget.max_usd": "at most 10 (the platform); at most 5 (project shop)",
            "notify": "no host (the platform)",
            "intended_uses": "military and weapons (project shop)",
        },
    }
    assert applied.in_force("bank").limits["notify"] == "no host (the platform); a or b (project bank)"
    assert AppliedPolicy().in_force("shop").model_dump() == {"version": 0, "limits": {}}


@pytest.mark.parametrize(
    ("limits", "sections", "broken"),
    [
        ({"deployment.instances": {"at_most": 1}}, {"deployment": {"max_instances": 2}}, ["deployment.max_instances"]),
        ({"deployment.max_instances": {"at_most": 2}}, {"deployment": {"instances": 3}}, ["deployment.instances"]),
        ({"deployment.max_instances": {"at_most": 2}}, {}, []),
        (
            {"deployment.instances": {"at_most": 1}, "deployment.max_instances": {"at_least": 1}},
            {"deployment": {"max_instances": 100}},
            ["deployment.max_instances"],
        ),
        (
            {"deployment.instances": {"at_most": 1}, "deployment.max_instances": {"at_most": 2}},
            {"deployment": {"max_instances": 2}},
            [],
        ),
        (
            {"data.personal_data": {"one_of": ["block"]}},
            {"data": {"personal_data_allowed": ["email"]}},
            ["data.personal_data_allowed"],
        ),
        (
            {"data.harmful_content": {"one_of": ["block"]}},
            {"data": {"harmful_content": "block", "harmful_content_allowed": ["drugs"]}},
            ["data.harmful_content_allowed"],
        ),
        (
            {"data.personal_data": {"one_of": ["allow"]}},
            {"data": {"personal_data": "allow", "personal_data_allowed": ["email"]}},
            [],
        ),
        (
            {"data.personal_data": {"one_of": ["block"]}, "data.personal_data_allowed": {"one_of": ["email", "ipv*"]}},
            {"data": {"personal_data_allowed": ["email", "ipv6"]}},
            [],
        ),
        (
            {"data.personal_data_allowed": {"one_of": ["email"]}},
            {"data": {"personal_data_allowed": ["email", "us_ssn"]}},
            ["data.personal_data_allowed"],
        ),
        ({"deployment.rollout": {"at_least": 20}}, {}, ["deployment.rollout"]),
        ({"deployment.scale_out_above": {"at_least": 80}}, {}, []),
        (
            {"deployment.scale_out_above": {"at_least": 80}},
            {"deployment": {"max_instances": 2, "scale_out_above": None}},
            ["deployment.scale_out_above"],
        ),
        ({"deployment.endpoint": {"one_of": ["shop*"]}}, {}, []),
        ({"deployment.endpoint": {"one_of": ["bank"]}}, {}, ["deployment.endpoint"]),
    ],
)
def test_no_other_setting_sidesteps_a_limit(limits: Any, sections: dict[str, Any], broken: list[str]) -> None:
    assert violated(PlatformPolicy(limits=limits), recipe(**sections)) == broken


def leaves(kind: type[Frozen] = Recipe, above: str = "") -> Iterator[tuple[str, TypeAdapter[Any]]]:
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Frozen):
            yield from leaves(inner, f"{above}{name}.")
        else:
            yield f"{above}{name}", TypeAdapter(Annotated[inner, field])  # type: ignore[arg-type]


def accepts(setting: TypeAdapter[Any], value: Any) -> bool:
    try:
        setting.validate_python(value)
    except ValidationError:
        return False
    return True


SETTINGS = dict(leaves())
# What null is: nothing of the kind is done (no limit switches it on), the highest or lowest number, not within a limit.
NULLS: dict[str, float | Literal["off"] | None] = {
    "deployment.max_instances": "off",
    "deployment.scale_out_above": "off",
    "retrain.every_days": "off",
    "deployment.idle_hours": inf,
    GENERAL: inf,
    GATE + "max_memorized": inf,
    GATE + "gain_over_lookup": -inf,
    GATE + "min_pair_agreement": -inf,
    **dict.fromkeys(("data.encoding", "data.split_group", "evaluation.pairs", "intended_uses"), None),
}
NOT_NULL = {"deployment.endpoint"}  # the project's name
NUMBERS = (-0.5, 0, 0.01, 0.05, 0.3, 0.9, 1, 2, 7, 20, 90, 100, 200)
TEXTS = ("required", "automatic", "block", "allow", "spot", "dedicated", "utf-8", "chat", "a", "shop", "weapons")


def test_of_each_setting_that_may_be_null_it_is_decided_what_a_limit_makes_of_it() -> None:
    objects = {path for path, setting in SETTINGS.items() if '"object"' in str(setting.json_schema()).replace("'", '"')}
    assert {path for path, setting in SETTINGS.items() if accepts(setting, None)} - objects == {*NULLS} | NOT_NULL


@pytest.mark.parametrize("path", SETTINGS)
def test_a_limit_never_loosens_never_switches_on_and_leaves_alone_what_keeps_it(path: str) -> None:
    setting = SETTINGS[path]
    numbers = [one for one in NUMBERS if accepts(setting, one)]
    values: list[Any] = [*numbers, *(one for one in TEXTS if accepts(setting, one))]
    limits: list[Any] = [{way: one} for one in numbers for way in ("at_least", "at_most")]
    limits += [{"one_of": [one]} for one in values if isinstance(one, str)] + [{"one_of": ["*"]}]
    *sections, name = path.split(".")
    for limit, value in product(limits, [..., None, *values]):
        try:
            rules = policy(**{path: limit})
            chosen: Any = {} if value is ... else {name: value}
            for section in reversed(sections):
                chosen = {section: chosen}
            given = recipe(**chosen)
        except ValidationError:  # no such limit, or no such recipe
            continue
        before = {one.param for one in rules.violations(given, "shop", None)}
        tightened, changed = rules.tightened(given, "shop")
        after = {one.param for one in rules.violations(tightened, "shop", None)}
        assert after <= before
        assert (tightened == given) == (not changed)
        assert not changed or (value is ... and path in before and path not in after), (limit, value)
        found = reduce(getattr, path.split("."), given)
        if found is None and path not in NOT_NULL:
            null = NULLS[path]
            low, high = limit.get("at_least", -inf), limit.get("at_most", inf)
            keeps = null == "off" or (isinstance(null, float) and low <= null <= high)
            assert (path in before) == (not keeps), (limit, value)


def test_of_auto_the_machine_that_was_chosen_counts() -> None:
    rules = policy(**{"budget.instance_type": {"one_of": ["Standard_NC*"]}})
    assert violated(rules, rules.tightened(recipe(), "shop")[0]) == ["budget.instance_type"]


def test_a_limit_that_needs_another_setting_is_a_violation_and_no_crash() -> None:
    rules = policy(**{GATE + "min_pair_agreement": {"at_least": 0.9}})
    tightened, changed = rules.tightened(recipe(), "shop")
    assert (changed, violated(rules, tightened)) == ({}, [GATE + "min_pair_agreement"])


def test_a_projects_limits_come_on_top_of_the_platforms() -> None:
    own = {"limits": {"budget.max_usd": {"at_most": 5}}, "notify_hosts": ["hooks.shop.example"]}
    rules = PlatformPolicy.model_validate(
        {"limits": {"budget.max_usd": {"at_most": 10}}, "notify_hosts": ["*.example"], "projects": {"shop": own}}
    )
    assert rules.tightened(recipe(), "shop")[0].budget.max_usd == 5
    assert rules.tightened(recipe(), "bank")[0].budget.max_usd == 10
    assert violated(rules, recipe(budget={"max_usd": 7}), "bank") == []
    assert violated(rules, recipe(budget={"max_usd": 7}), "shop") == ["budget.max_usd"]
    hosts = ("hooks.shop.example", "a.example", "evil.test")
    assert [len([*rules.host_problems(host, "shop")]) for host in hosts] == [0, 1, 2]
    assert [*PlatformPolicy(notify_hosts=()).host_problems("a", "shop")] == [
        "a is none of those that the platform allows: no host"
    ]
    assert [*PlatformPolicy(notify_hosts=()).host_problems("a", None)] == []


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"deployment.aproval": {"one_of": ["required"]}}, "a recipe has no setting deployment.aproval"),
        ({"method.hyperparameters.seed": {"at_least": 1}}, "a recipe has no setting"),
        ({"deployment.approval.x": {"one_of": ["x"]}}, "a recipe has no setting"),
        ({"model_config": {"one_of": ["x"]}}, "a recipe has no setting"),
        ({"deployment.approval": {"one_of": ["requird"]}}, "deployment.approval cannot be requird"),
        ({"deployment.approval": {"at_least": 1}}, "deployment.approval cannot be 1.0"),
        ({GATE + "min_rows": {"at_least": 50.5}}, "cannot be 50.5"),
        ({GATE + "min_rows": {"at_least": 1}}, "cannot be 1.0"),
        ({"budget.max_usd": {}}, "a limit has at_least, at_most or one_of"),
        ({"budget.max_usd": {"at_most": float("inf")}}, "finite number"),
        ({"budget.max_usd": {"at_most": float("nan")}}, "finite number"),
        ({"budget.max_usd": {"most": 5}}, "Extra inputs"),
        ({"method": {"one_of": ["*supervised*"]}}, "method is no number, text or list of these"),
        ({"evaluation.gate.floors": {"one_of": ["*"]}}, "is no number, text or list of these"),
        ({"data.personal_data_allowed": {"one_of": ["emial"]}}, "personal_data_allowed cannot be emial"),
    ],
)
def test_a_limit_that_could_never_be_kept_is_refused_with_the_policy(limits: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PlatformPolicy(limits=limits)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"projects": {"shop": {"endpoints": ["bank"]}, "bank": {}}}, "endpoint bank is of bank and of shop"),
        ({"projects": {"shop": {"endpoints": ["x-1"]}, "bank": {"endpoints": ["x-1"]}}}, "endpoint x-1 is of"),
        ({"projects": {"Shop": {}}}, "pattern"),
        ({"projects": {"shop": {"monthly_usd": 0}}}, "greater than 0"),
        ({"approvers": 0}, "greater than or equal to 1"),
    ],
)
def test_a_policy_that_contradicts_itself_is_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PlatformPolicy.model_validate(content)


numbers = st.one_of(st.floats(allow_nan=False), st.integers(-10, 10))


@given(st.floats(-10, 10), st.floats(-10, 10), numbers)
def test_the_nearest_value_is_allowed_and_what_is_allowed_is_not_changed(a: float, b: float, value: Any) -> None:
    limit = Limit(at_least=min(a, b), at_most=max(a, b))
    nearest = limit.nearest(value)
    assert limit.allows(nearest)
    assert nearest == value or not limit.allows(value)
