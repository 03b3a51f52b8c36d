"""`recipe.yaml` to a Recipe, with every problem in one pass."""

from __future__ import annotations

import itertools
from collections.abc import Hashable
from typing import Any

import yaml
from pydantic import ValidationError

from shared.domain.catalog import check_license
from shared.domain.findings import Findings
from shared.domain.recipe import Notify, Recipe, Reinforcement
from shared.grading import problems
from shared.validation.codes import MAX_RECIPE_BYTES


class _Unreadable(Exception):
    pass


class _Loader(yaml.SafeLoader):
    """Plain YAML that refuses a key given twice and aliases (a small file could grow without end)."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _Unreadable("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise _Unreadable(f"line {node.start_mark.line + 1}: the key {twice} is given twice")
        return super().construct_mapping(node, deep)


def read_recipe(text: bytes | None, default_base_model: str, findings: Findings) -> Recipe | None:
    """The recipe, or None with its problems in `findings` under the file `recipe`.

    No text means a recipe of defaults. The license gate is part of it.
    """
    try:
        raw = _load(text or b"")
    except _Unreadable as error:
        findings.add("recipe_yaml", "recipe", detail=str(error))
        return None
    raw = {"base_model": default_base_model, **raw}
    recipe = None
    try:
        recipe = _with_working_graders(Recipe.model_validate(raw), findings)
    except ValidationError as error:
        _report(error, raw, findings)
    _check_license(raw, findings)
    return recipe


def read_channels(text: bytes) -> list[Notify]:
    """The valid channels of a recipe, whatever else is wrong with it: a rejected run is told to them too."""
    try:
        asked = _load(text).get("notify")
    except _Unreadable:
        return []
    return [channel for one in asked if (channel := _channel(one))] if isinstance(asked, list) else []


def _channel(raw: object) -> Notify | None:
    try:
        return Notify.model_validate(raw)
    except ValidationError:
        return None


def _load(text: bytes) -> dict[str, Any]:
    if len(text) > MAX_RECIPE_BYTES:
        raise _Unreadable(f"it is larger than {MAX_RECIPE_BYTES // 2**10} KiB")
    try:
        # The loader is a SafeLoader: it builds plain values only.
        raw = yaml.load(text.decode("utf-8-sig"), Loader=_Loader)  # noqa: S506
    except UnicodeDecodeError as error:
        raise _Unreadable("it is not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _Unreadable(f"line {line}: {error.problem or 'not valid YAML'}") from error
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise _Unreadable("it is not valid YAML") from error
    if raw is None:
        return {}
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise _Unreadable("it is not a mapping of settings")
    return raw


def _with_working_graders(recipe: Recipe, findings: Findings) -> Recipe | None:
    found = problems(recipe.evaluation.graders, "evaluation.graders")
    if isinstance(recipe.method, Reinforcement):
        found += problems(recipe.method.graders, "method.graders")
    for setting, message in found:
        findings.add("recipe_value", "recipe", detail=f"{setting}: {message}")
    return None if found else recipe


def _report(error: ValidationError, raw: dict[str, Any], findings: Findings) -> None:
    unknown, wrong = settings_at_fault(error, raw)
    for path in unknown:
        findings.add("recipe_unknown_key", "recipe", detail=path)
    for path, reason in wrong.items():
        findings.add("recipe_value", "recipe", detail=f"{path}: {reason}")


def settings_at_fault(error: ValidationError, raw: Any) -> tuple[list[str], dict[str, str]]:
    """Paths of settings that nobody knows, and what is wrong by path; the alternatives of one (`auto` or a number)
    are joined."""
    unknown: list[str] = []
    reasons: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        path = dotted_path(problem["loc"], raw, missing=problem["type"] == "missing") or "recipe"
        if problem["type"] == "extra_forbidden":
            unknown.append(path)
        else:
            reasons.setdefault(path, []).append(_plain(problem["msg"]))
    return unknown, {path: ", or ".join(dict.fromkeys(many)) for path, many in reasons.items()}


def _plain(message: str) -> str:
    return message.removeprefix("Value error, ").rstrip(".")


def dotted_path(location: tuple[int | str, ...], raw: Any, *, missing: bool) -> str:
    """Path of a setting, without the tags pydantic adds for the branches of a union; empty for the whole."""
    path, tagged = "", False
    for part, following in itertools.zip_longest(location, location[1:]):
        # What kind of a grader it is stands in the path too, once, and may be the name of a setting as well.
        is_kind = isinstance(raw, dict) and not tagged and part == raw.get("type")
        block = raw.get(part) if is_kind else None
        if is_kind and not (isinstance(block, dict) and following in block):
            tagged = True
            continue
        inside = (isinstance(raw, dict) and part in raw) or (isinstance(raw, list) and isinstance(part, int))
        if not inside and not (missing and part == location[-1]):
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
        raw, tagged = raw[part] if inside else None, False
    return path


def _check_license(raw: dict[str, Any], findings: Findings) -> None:
    base_model, use_case = raw["base_model"], raw.get("use_case", "")
    if isinstance(base_model, str) and isinstance(use_case, str):
        for problem in check_license(base_model, use_case):
            findings.add(problem.code, "recipe", detail=problem.message)
