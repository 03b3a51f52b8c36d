"""Everything that is wrong with a policy, in one pass and in plain words."""

import copy
from collections.abc import Iterator
from fnmatch import filter as matching
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.domain.catalog import CATALOG, SKUS
from shared.domain.policy import APP_ROLES, PlatformPolicy, PolicyProblem, is_number, setting_of
from shared.validation.setting_errors import dotted, faulty, location, remove
from shared.validation.suggestions import Location

_WORDS = {
    "extra_forbidden": "there is no such key",
    "missing": "it has to be given",
    "greater_than": "it has to be above {gt:g}",
    "greater_than_equal": "it has to be at least {ge:g}",
    "less_than_equal": "it has to be at most {le:g}",
    "string_too_short": "it has to have at least {min_length} characters",
    "string_too_long": "it has to have at most {max_length} characters",
    "string_pattern_mismatch": "it has to be small letters and digits, with single dashes between them",
    "too_short": "it has to have at least {min_length} entries",
    "literal_error": "it has to be {expected}",
    "finite_number": "it has to be a finite number",
    **dict.fromkeys(("float_type", "float_parsing"), "it has to be a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "it has to be a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "it has to be true or false"),
    "string_type": "it has to be a text",
    "tuple_type": "it has to be a list",
    **dict.fromkeys(("dict_type", "model_type"), "it has to be a mapping"),
}
_REMEDIES = {
    "policy_unknown_key": "Remove it or correct its name: GET /api/policy/schema has every key.",
    "policy_value": "Correct it: GET /api/policy/schema says what it may be.",
    "policy_setting": "Name a setting that docs/reference/recipe.md lists.",
    "policy_limit": "Give the limit what the setting may be: docs/reference/recipe.md says it.",
    "policy_endpoint": "Leave the endpoint to one of the two projects.",
    "policy_pattern": "Correct it: `droptune base-models list` has the base models, shared/domain/catalog.toml both.",
    "policy_base_model": "Correct the entry: docs/how-to/add-a-base-model.md says what it has.",
    "unknown_license": "Name one of them, or write the license itself as `terms`: docs/how-to/add-a-base-model.md.",
    "policy_approvers": "Name more owners or approvers, write group:ID for a group, or lower approvers.",
}
_MAX_REPAIRS = 8


def policy_problems(raw: Any) -> list[PolicyProblem]:
    """What has no right form, and what nobody could keep of the rest. None: it may be put in force."""
    found, raw = dict[tuple[str, str], PolicyProblem](), copy.deepcopy(raw)
    policy = PlatformPolicy()
    for _ in range(_MAX_REPAIRS):
        try:
            policy = PlatformPolicy.model_validate(raw)
            break
        except ValidationError as error:
            problems = [_of_pydantic(one, raw) for one in error.errors(include_url=False, include_input=False)]
            found |= {(one.path, one.message): one for one in problems}
            for where in filter(None, faulty(error, raw)):
                remove(raw, _whole(where))
    return [*found.values(), *_unmatched(policy), *_too_few_approvers(policy)]


def _whole(where: Location) -> Location:
    """Of a limit, a team or a base model with a fault all: what is left of it would have another one."""
    return next((where[: n + 2] for n, part in enumerate(where) if part in ("limits", "teams", "base_models")), where)


def _of_pydantic(error: ErrorDetails, raw: Any) -> PolicyProblem:
    kind, path = error["type"], dotted(location(error["loc"], raw, missing=error["type"] == "missing"))
    if kind in _REMEDIES:
        return _problem(path, kind, error["msg"])
    code = "policy_unknown_key" if kind == "extra_forbidden" else "policy_value"
    return _problem(path, code, _WORDS.get(kind, "it cannot be that").format(**error.get("ctx", {})))


def _problem(path: str, code: str, message: str) -> PolicyProblem:
    return PolicyProblem(path=path, code=code, message=message, remedy=_REMEDIES[code])


def _unmatched(policy: PlatformPolicy) -> Iterator[PolicyProblem]:
    known = {
        "base_model": (
            "base model",
            [one.id for one in (*CATALOG.values(), *policy.base_models) if one.terms.policy != "deny"],
        ),
        "budget.instance_type": ("machine", [one.name for one in SKUS]),
        "deployment.instance_type": ("machine of endpoints", [one.name for one in SKUS if one.online_endpoint]),
    }
    of_all = {"": policy, **{f"projects.{name}.": project for name, project in policy.projects.items()}}
    for whose, rules in of_all.items():
        for setting, limit in rules.limits.items():
            # Here, not in the model: a policy in force with one goes on, and implies no cap of the settings beside it.
            if limit.one_of and (field := setting_of(setting)) and is_number(field):
                message = f"{setting} is a number, which takes at_least and at_most"
                yield _problem(f"{whose}limits.{setting}", "policy_limit", message)
        for setting, (kind, names) in known.items():
            of_names = rules.limits.get(setting)
            for number, pattern in enumerate((of_names and of_names.one_of) or ()):
                if not matching(names, pattern):
                    path = f"{whose}limits.{setting}.one_of[{number}]"
                    yield _problem(path, "policy_pattern", f"no {kind} that is offered is {pattern}")


def _too_few_approvers(policy: PlatformPolicy) -> Iterator[PolicyProblem]:
    """Of a group or an app role nobody knows how many have it. A project without any may be one that never asks."""
    for name, project in policy.projects.items():
        members = set(project.members("approver"))
        asks = [rules.limits.get("deployment.approval") for rules in policy.rules(name).values()]
        required = any(limit and not limit.allows("automatic") for limit in asks)
        is_known = not any(one.startswith("group:") or one in APP_ROLES for one in members)
        if is_known and len(members) < policy.approvers and (members or required):
            few = f"{policy.approvers} must approve, and the project has {len(members)} who may"
            yield _problem(f"projects.{name}.approvers", "policy_approvers", few)
