"""`recipe.yaml` to a Recipe, with every problem in one pass."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from math import inf
from operator import eq
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from shared.domain.catalog import check_license
from shared.domain.drop_zone import MAX_RECIPE_BYTES
from shared.domain.findings import ERRORS_SHOWN, Findings
from shared.domain.graders import Grader
from shared.domain.recipe import Notify, Recipe, Reinforcement
from shared.domain.subscriptions import unknown_events
from shared.grading.engine import problems
from shared.validation.encodings import encoding_of
from shared.validation.setting_errors import Location, dotted, faulty, remove, setting_errors, with_suggestion

# Removing a faulty setting can make the section around it faulty, and so on up to the top.
_MAX_REPAIRS = 8
_OTHER_GRADER = {"name": "other", "type": "string_check", "reference": "other"}  # reads no field of a row


@dataclass(frozen=True, slots=True)
class ReadRecipe:
    """`recipe` is None if it has problems. `assumed` is what the data is then checked by: all settings that are valid.
    `unknown`: the other settings that were given, which `assumed` lacks or has by default; the empty path is all."""

    recipe: Recipe | None
    assumed: Recipe
    unknown: frozenset[Location] = frozenset()

    def knows(self, *setting: str) -> bool:
        """Whether `assumed` has it as the recipe means it, and all settings below."""
        return not any(all(map(eq, where, setting)) for where in self.unknown)


class _Unreadable(Exception):
    pass


class RecipeLoader(yaml.SafeLoader):
    """Plain YAML that refuses aliases (a small file could grow without end)."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _Unreadable("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        """Beyond 64 bits it is as infinite: few stores hold it, and Python writes none of more than 4,300 digits."""
        value: int = super().construct_yaml_int(node)
        return value if value.bit_length() < 64 else inf


RecipeLoader.add_constructor("tag:yaml.org,2002:int", RecipeLoader.construct_yaml_int)


def keys_given_twice(node: yaml.Node | None, where: Location = ()) -> Iterator[tuple[Location, int]]:
    """The path of each in a document, and the line where it is given again."""
    seen: set[str] = set()
    for number, pair in enumerate(node.value if isinstance(node, yaml.CollectionNode) else ()):
        key, value = pair if isinstance(node, yaml.MappingNode) else (None, pair)
        inside = (*where, key.value if isinstance(key, yaml.ScalarNode) else number)
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                yield inside, key.start_mark.line + 1
            seen.add(key.value)
        yield from keys_given_twice(value, inside)


def recipe_text(path: Path) -> bytes:
    """As much of a file as `read_recipe` reads: a longer recipe is refused."""
    with path.open("rb") as file:
        return file.read(MAX_RECIPE_BYTES + 1)


def read_recipe(text: bytes | None, default_base_model: str, findings: Findings) -> ReadRecipe:
    """The recipe, its license gate too; problems go to `findings`. No text means a recipe of defaults."""
    try:
        given, twice = _load(text or b"")
    except _Unreadable as error:
        findings.add("recipe_yaml", "recipe", detail=_encodable(str(error)))
        return ReadRecipe(None, Recipe(base_model=default_base_model), frozenset([()]))
    for where, line in twice[:ERRORS_SHOWN]:
        findings.add("recipe_value", "recipe", detail=f"{dotted(where)}: it is given twice, again in line {line}")
    unknown = {where for where, _ in twice}
    raw = {"base_model": default_base_model, **given}
    try:
        assumed = Recipe.model_validate(raw)
        unknown |= _check_graders(assumed, findings)
    except ValidationError as error:
        errors = setting_errors(error, given, Recipe, {"base_model": default_base_model})
        for wrong in errors:
            path = wrong.path or "recipe"
            if wrong.unknown:
                findings.add("recipe_unknown_key", "recipe", detail=with_suggestion(path, wrong.message))
            else:
                findings.add("recipe_value", "recipe", detail=f"{path}: {wrong.message}")
        if (more := error.error_count() - ERRORS_SHOWN) > 0:
            findings.add("recipe_value", "recipe", detail=f"{more:,} more settings are wrong: correct these first")
        assumed, removed = _without_faults(raw, error, default_base_model)
        unknown |= removed.union(*(one.meant for one in errors))
        read = ReadRecipe(None, assumed, frozenset(unknown))
    else:
        read = ReadRecipe(None if unknown else assumed, assumed, frozenset(unknown))
    if _check_events(read.assumed.notify, findings):
        read = replace(read, recipe=None)
    base_model, use_case = raw["base_model"], raw.get("use_case", "")
    if isinstance(base_model, str) and isinstance(use_case, str):
        for problem in check_license(base_model, use_case, read.assumed.intended_uses):
            findings.add(problem.code, "recipe", detail=problem.message)
    return read


def _without_faults(
    raw: dict[str, Any], error: ValidationError, default_base_model: str
) -> tuple[Recipe, set[Location]]:
    """The recipe without the settings that are wrong, and these."""
    raw, removed = copy.deepcopy(raw), set[Location]()
    for _ in range(_MAX_REPAIRS):
        for where in faulty(error, raw):
            if where:
                remove(raw, where)
                removed.add(where)
            else:  # the one check across sections: the evaluation has the graders of the method
                section = raw.get("evaluation")
                raw["evaluation"] = {**(section if isinstance(section, dict) else {}), "graders": [_OTHER_GRADER]}
        try:
            return Recipe.model_validate({"base_model": default_base_model, **raw}), removed
        except ValidationError as another:
            error = another
    return Recipe(base_model=default_base_model), {()}


def _load(text: bytes) -> tuple[dict[str, Any], list[tuple[Location, int]]]:
    """The settings, of a key given twice the last, and what `keys_given_twice` says."""
    if len(text) > MAX_RECIPE_BYTES:
        raise _Unreadable(f"it is larger than {MAX_RECIPE_BYTES // 2**10} KiB")
    try:
        encoding, mark = encoding_of(text)
        loader = RecipeLoader(text[mark:].decode(encoding or "utf-8-sig"))
        node = loader.get_single_node()
        raw, twice = loader.construct_document(node) if node else None, list(keys_given_twice(node))
    except UnicodeDecodeError as error:
        raise _Unreadable("it is not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _Unreadable(f"line {line}: {error.problem or 'not valid YAML'}") from error
    except (yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise _Unreadable("it is not valid YAML") from error
    if raw is None:
        return {}, []
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise _Unreadable("it is not a mapping of settings")
    for where, string in _texts(raw, ()):
        if _encodable(string) != string:
            raise _Unreadable(f"{dotted(where)}: it has a lone surrogate, which UTF-8 cannot encode")
    return raw, twice


def _texts(value: Any, where: Location) -> Iterator[tuple[Location, str]]:
    """Every text of a recipe, keys too, with the path of its setting."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, each in value.items():
            inside = (*where, key if isinstance(key, int) else str(key))
            if isinstance(key, str):
                yield inside, key
            yield from _texts(each, inside)
    elif isinstance(value, list | tuple | set):
        for number, each in enumerate(value):
            yield from _texts(each, (*where, number))


def _encodable(text: str) -> str:
    """A lone surrogate, which YAML may write as an escape, cannot be stored: it becomes that escape."""
    return text.encode(errors="backslashreplace").decode()


def _check_graders(recipe: Recipe, findings: Findings) -> set[Location]:
    """Where there are graders that do not work."""
    graders: dict[Location, Sequence[Grader]] = {("evaluation", "graders"): recipe.evaluation.graders}
    if isinstance(recipe.method, Reinforcement):
        graders["method", "graders"] = recipe.method.graders
    found = {where: problems(some, dotted(where)) for where, some in graders.items()}
    for setting, message in chain.from_iterable(found.values()):
        findings.add("recipe_value", "recipe", detail=f"{setting}: {message}")
    return {where for where in found if found[where]}


def _check_events(notify: Sequence[Notify], findings: Findings) -> bool:
    """Whether one names what no event is."""
    wrong = [(number, message) for number, one in enumerate(notify) for message in unknown_events(one.events)]
    for number, message in wrong:
        findings.add("recipe_value", "recipe", detail=f"notify[{number}].events: {message}")
    return bool(wrong)
