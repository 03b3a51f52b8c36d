"""Everything that is wrong with a policy, in one pass and in plain words."""

import copy
import re
from collections.abc import Iterator
from fnmatch import filter as matching
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from shared.domain.beside import read_beside
from shared.domain.catalog import CATALOG, LICENSES, SKUS, why_not_trained
from shared.domain.policy import APP_ROLES, PlatformPolicy, PolicyProblem, is_number, setting_of
from shared.validation.setting_errors import dotted, faulty, location, remove

_TABLES: dict[str, dict[str, str]] = read_beside(__file__)
_WORDS, _REMEDIES = _TABLES["words"], _TABLES["remedies"]
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
                # Of a limit, a team or a base model with a fault all: what is left of it would have another one.
                ends = (n + 2 for n, part in enumerate(where) if part in ("limits", "teams", "base_models"))
                remove(raw, where[: next(ends, None)])
    return [*found.values(), *_own_bases(policy), *_unmatched(policy), *_too_few_approvers(policy)]


def _of_pydantic(error: ErrorDetails, raw: Any) -> PolicyProblem:
    kind, path = error["type"], dotted(location(error["loc"], raw, missing=error["type"] == "missing"))
    if kind in _REMEDIES:
        return _problem(path, kind, error["msg"])
    code = "policy_unknown_key" if kind == "extra_forbidden" else "policy_value"
    return _problem(path, code, _WORDS.get(kind, "it cannot be that").format(**error.get("ctx", {})))


def _problem(path: str, code: str, message: str) -> PolicyProblem:
    return PolicyProblem(path=path, code=code, message=message, remedy=_REMEDIES[code])


def _own_bases(policy: PlatformPolicy) -> Iterator[PolicyProblem]:
    """Here, not in the model: a policy in force goes on where a later catalog has the id or takes the license anew."""
    ids = {id.casefold() for id in CATALOG}
    for number, entry in enumerate(policy.base_models):
        own, wrong = LICENSES.get(entry.terms.id), list[str]()
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", entry.id, re.ASCII) or ".." in entry.id:
            wrong.append("an id is OWNER/NAME of letters, digits, '.', '_' and '-'")
        if entry.id.casefold() in ids:
            wrong.append(f"{entry.id} is there already")
        ids.add(entry.id.casefold())
        if entry.architecture is None or not (entry.parameters and entry.context_tokens):
            wrong.append("it needs architecture, parameters and context_tokens")
        elif why := why_not_trained(entry.architecture.model_type):
            wrong.append(f"no base model of this architecture is trained: {why}")
        if not re.match(r"azureml://(?!.*\.\.)", entry.asset or ""):
            wrong.append("asset is the azureml:// address that jobs mount")
        if entry.terms.own or (own and own != entry.terms):
            wrong.append(f"{entry.terms.id} is not what the catalog says of it, or no license of other people's work")
        if any(len(text) > 256 for text in entry.terms.obligations):
            wrong.append("an obligation has at most 256 characters: it becomes the value of a tag in Azure")
        yield from (_problem(f"base_models[{number}]", "policy_base_model", message) for message in wrong)


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
