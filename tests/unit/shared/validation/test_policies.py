"""A policy that is refused says all that is wrong with it, where, and what to do: in words that are no program's."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from shared.domain.policy import PlatformPolicy
from shared.validation.policies import policy_problems
from tests.unit.shared.domain.own_base import OWN

# Words of pydantic: of the messages for the types of errors, and of the links that it adds.
RAW = re.compile(r"[Ii]nput should|[Ee]xtra inputs|[Ff]ield required|[Vv]alue error|[Ss]tring should|[Tt]uple|pydantic")
REQUIRED = {"deployment.approval": {"one_of": ["required"]}}
ADA, BOB = "3f0c6f0e-0000-4000-8000-000000000001", "3f0c6f0e-0000-4000-8000-000000000002"


def limit(setting: str, **bounds: Any) -> dict[str, Any]:
    return {"limits": {setting: bounds}}


def shop(**project: Any) -> dict[str, Any]:
    return {"projects": {"shop": project}}


FORMS: list[tuple[Any, list[tuple[str, str]]]] = [
    ([], [("", "policy_value")]),
    ({"aprovers": 1}, [("aprovers", "policy_unknown_key")]),
    ({"approvers": 0}, [("approvers", "policy_value")]),
    ({"approvers": 6}, [("approvers", "policy_value")]),
    ({"approvers": "two"}, [("approvers", "policy_value")]),
    ({"approvers": 1.5}, [("approvers", "policy_value")]),
    ({"monthly_usd": 0}, [("monthly_usd", "policy_value")]),
    ({"monthly_usd": "much"}, [("monthly_usd", "policy_value")]),
    ({"monthly_usd": float("nan")}, [("monthly_usd", "policy_value")]),
    ({"review_every_license": "perhaps"}, [("review_every_license", "policy_value")]),
    ({"intended_uses": ["peace"]}, [("intended_uses[0]", "policy_value")]),
    ({"intended_uses": "military"}, [("intended_uses", "policy_value")]),
    ({"notify_hosts": ["a" * 201]}, [("notify_hosts[0]", "policy_value")]),
    ({"notify_hosts": [7]}, [("notify_hosts[0]", "policy_value")]),
    ({"projects": []}, [("projects", "policy_value")]),
    ({"projects": {"Shop": {}}}, [("projects.Shop", "policy_value")]),
    ({"projects": {"shop": None}}, [("projects.shop", "policy_value")]),
    (shop(owners=[""]), [("projects.shop.owners[0]", "policy_value")]),
    (shop(owner=[ADA]), [("projects.shop.owner", "policy_unknown_key")]),
    ({"teams": {"all": {"projects": ["shop"]}}}, [("teams.all.monthly_usd", "policy_value")]),
    ({"teams": {"all": {"projects": [], "monthly_usd": 1}}}, [("teams.all.projects", "policy_value")]),
]
LIMITS = [
    (limit("deployment.aproval", one_of=["required"]), [("limits.deployment.aproval", "policy_setting")]),
    (limit("deployment.approval.x", one_of=["required"]), [("limits.deployment.approval.x", "policy_setting")]),
    (limit("deployment.approval", one_of=["requird"]), [("limits.deployment.approval", "policy_limit")]),
    (limit("deployment.approval", at_least=1), [("limits.deployment.approval", "policy_limit")]),
    (limit("budget.max_usd"), [("limits.budget.max_usd", "policy_limit")]),
    (limit("budget.max_usd", at_least=2, at_most=1), [("limits.budget.max_usd", "policy_limit")]),
    (limit("budget.max_usd", most=1), [("limits.budget.max_usd.most", "policy_unknown_key")]),
    (limit("budget.max_usd", at_most=float("inf")), [("limits.budget.max_usd.at_most", "policy_value")]),
    (limit("deployment.instances", one_of=["1"]), [("limits.deployment.instances", "policy_limit")]),
    (limit("deployment.idle_hours", one_of=["*"]), [("limits.deployment.idle_hours", "policy_limit")]),
    (shop(limits={"budget.max_usd": {"one_of": ["5"]}}), [("projects.shop.limits.budget.max_usd", "policy_limit")]),
    (limit("base_model", one_of=[]), [("limits.base_model.one_of", "policy_value")]),
]
PATTERNS = [
    (limit("base_model", one_of=["nosuch/*"]), [("limits.base_model.one_of[0]", "policy_pattern")]),
    (
        limit("base_model", one_of=["microsoft/*", "microsoft/Phi-5"]),
        [("limits.base_model.one_of[1]", "policy_pattern")],
    ),
    (limit("base_model", one_of=["Qwen/Qwen2.5-3B*"]), [("limits.base_model.one_of[0]", "policy_pattern")]),  # denied
    (limit("base_model", one_of=["microsoft/*", "*Llama*", "droptune/tiny-llama"]), []),
    (
        limit("budget.instance_type", one_of=["Standard_Z*"]),
        [("limits.budget.instance_type.one_of[0]", "policy_pattern")],
    ),
    (limit("budget.instance_type", one_of=["auto"]), [("limits.budget.instance_type.one_of[0]", "policy_pattern")]),
    (limit("budget.instance_type", one_of=["Standard_NC*", "Local_CPU"]), []),
    (
        limit("deployment.instance_type", one_of=["standard_nc*"]),
        [("limits.deployment.instance_type.one_of[0]", "policy_pattern")],
    ),
    (limit("deployment.instance_type", one_of=["Standard_NC24ads_A100_v4"]), []),
    (
        shop(**limit("base_model", one_of=["nosuch/*"])),
        [("projects.shop.limits.base_model.one_of[0]", "policy_pattern")],
    ),
    (limit("data.format", one_of=["nosuch*"]), []),  # what rows may be is not listed anywhere
]
OWNERS = [
    (
        {"projects": {"shop": {"endpoints": ["bank"]}, "bank": {}}},
        [("projects.shop.endpoints[0]", "policy_endpoint")],
    ),
    (
        {"projects": {"shop": {"endpoints": ["x-1"]}, "bank": {"endpoints": ["a-b", "x-1"]}}},
        [("projects.bank.endpoints[1]", "policy_endpoint")],
    ),
    ({"projects": {"shop": {"endpoints": ["shop", "x-1"]}, "bank": {}}}, []),
]
TOO_FEW = [("projects.shop.approvers", "policy_approvers")]
APPROVERS = [
    ({"approvers": 2, **shop(approvers=[ADA])}, TOO_FEW),
    ({"approvers": 2, **shop(owners=[ADA], approvers=[ADA])}, TOO_FEW),
    ({"approvers": 2, **shop(owners=[ADA], approvers=[BOB])}, []),
    ({"approvers": 2, **shop(owners=[ADA], readers=[BOB], operators=[BOB])}, TOO_FEW),
    ({"approvers": 3, **shop(owners=[ADA], approvers=[f"group:{BOB}"])}, []),
    ({"approvers": 5, **shop(approvers=["approver"])}, []),
    (shop(readers=[ADA]), []),
    ({**shop(readers=[ADA]), "limits": REQUIRED}, TOO_FEW),
    (shop(readers=[ADA], limits=REQUIRED), TOO_FEW),
    ({"approvers": 2, "projects": {}, "limits": REQUIRED}, []),
]


def own(**changes: Any) -> dict[str, Any]:
    return {"base_models": [{name: value for name, value in {**OWN, **changes}.items() if value is not None}]}


ENTRY_WRONG = [("base_models[0]", "policy_base_model")]
BASES: list[tuple[Any, list[tuple[str, str]]]] = [
    (own(), []),
    ({**own(), **limit("base_model", one_of=["acme/clinic-1"])}, []),
    (own(id="droptune/tiny-llama"), ENTRY_WRONG),
    ({"base_models": [OWN, OWN]}, [("base_models[1]", "policy_base_model")]),
    (own(id="../tiny-llama"), ENTRY_WRONG),
    (own(id="acme/clinic 1"), ENTRY_WRONG),
    (own(id="clinic"), ENTRY_WRONG),
    (own(id="Microsoft/phi-4"), ENTRY_WRONG),
    (own(id="micros\u043eft/Phi-4"), ENTRY_WRONG),  # a Cyrillic letter
    (own(id="acme/clinic/tokenizer"), ENTRY_WRONG),
    (own(asset="azureml://datastores/models/paths/../curated/x"), ENTRY_WRONG),
    (own(tokenizer="models/microsoft/Phi-4/"), [("base_models[0].tokenizer", "policy_unknown_key")]),
    *(
        (own(architecture={**OWN["architecture"], "model_type": kind}), ENTRY_WRONG)
        for kind in ("gpt_oss", "llama4", "gpt2", "mamba2")
    ),
    (own(license="LicenseRef-droptune-project"), ENTRY_WRONG),
    (own(license=None, terms={"id": "MIT", "policy": "allow", "obligations": ["None."]}), ENTRY_WRONG),
    (
        own(license=None, terms={"id": "LicenseRef-acme", "policy": "allow", "own": True, "obligations": ["None."]}),
        ENTRY_WRONG,
    ),
    *(
        (own(license=None, terms={"id": "LicenseRef-acme", "policy": "allow", "obligations": texts}), found)
        for texts, found in [(["x" * 256] * 20, []), (["x" * 257], ENTRY_WRONG)]
    ),
    (own(asset="https://example.com/weights"), ENTRY_WRONG),
    (own(asset=None), ENTRY_WRONG),
    (own(parameters=0), ENTRY_WRONG),
    (own(architecture=None), ENTRY_WRONG),
    (own(license="WTFPL"), [("base_models[0]", "unknown_license")]),
    (own(license=None), [("base_models[0].terms", "policy_value")]),
    (own(license=None, terms={"id": "LicenseRef-acme", "policy": "review", "obligations": ["Ask legal."]}), []),
    (own(colour="red"), [("base_models[0].colour", "policy_unknown_key")]),
    *(
        (own(**{name: value}), [(f"base_models[0].{name}", "policy_value")])
        for name in ("parameters", "context_tokens", "tokens_per_character")
        for value in (-1, 10**30, 10**400, math.inf, math.nan)
    ),
    *(
        (
            own(architecture={**OWN["architecture"], name: value}),
            [(f"base_models[0].architecture.{name}", "policy_value")],
        )
        for name in ("hidden", "layers", "heads", "kv_heads", "head_dim", "intermediate", "vocab")
        for value in (-1, 0, 10**30, math.nan)
    ),
    *(
        (own(defaults={name: value}), [(f"base_models[0].defaults.{name}", "policy_value")])
        for name in (
            *("batch_size", "lora_rank"),
            *(f"{kind}learning_rate" for kind in ("", "preference_", "reinforcement_")),
        )
        for value in (-1, 0, 1e9, math.inf, math.nan)
    ),
]


@pytest.mark.parametrize(("raw", "expected"), [*FORMS, *LIMITS, *PATTERNS, *OWNERS, *APPROVERS, *BASES])
def test_what_is_wrong_has_a_path_a_code_and_a_remedy_in_plain_words(raw: Any, expected: list[tuple[str, str]]) -> None:
    found = policy_problems(raw)
    assert [(one.path, one.code) for one in found] == expected
    for one in found:
        assert not RAW.search(str(one)), one
        assert one.message != "it cannot be that", "no words for it"
        assert one.remedy.endswith(".")
    if not expected:
        PlatformPolicy.model_validate(raw)


def test_all_of_it_is_in_one_report() -> None:
    raw = {
        "approvers": 2,
        "aprovers": 3,
        "monthly_usd": -1,
        "limits": {
            "deployment.aproval": {"one_of": ["required"]},
            "budget.max_usd": {"at_least": 2, "at_most": 1},
            "base_model": {"one_of": ["nosuch/*"]},
        },
        "projects": {
            "shop": {"approvers": [ADA], "endpoints": ["bank"], "reader": [], "limits": {"nosuch": {"at_most": 1}}},
            "bank": {},
        },
    }
    assert {(one.path, one.code) for one in policy_problems(raw)} == {
        ("aprovers", "policy_unknown_key"),
        ("monthly_usd", "policy_value"),
        ("limits.deployment.aproval", "policy_setting"),
        ("limits.budget.max_usd", "policy_limit"),
        ("limits.base_model.one_of[0]", "policy_pattern"),
        ("projects.shop.reader", "policy_unknown_key"),
        ("projects.shop.limits.nosuch", "policy_setting"),
        ("projects.shop.endpoints[0]", "policy_endpoint"),
        ("projects.shop.approvers", "policy_approvers"),
    }
    assert raw["aprovers"] == 3, "what was given is left as it is"
