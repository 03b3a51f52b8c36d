"""Validation errors of pydantic as errors of settings: by path, each once, with a suggestion."""

import copy
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared.domain.findings import ERRORS_SHOWN
from shared.validation.suggestions import Location, Names, has

_WRONG_VALUES = ("literal_error", "enum", "union_tag_invalid", "method_type")
NOT_AN_OBJECT = ("model_type", "model_attributes_type", "dict_type")
_MESSAGES = {
    **dict.fromkeys(NOT_AN_OBJECT, "Input should be a mapping of settings"),
    "tuple_type": "Input should be a list",
    "union_tag_not_found": "Field required",
}
_ABOUT_TYPE = ("union_tag_invalid", "union_tag_not_found", "method_type")  # pydantic places them at the section


@dataclass(frozen=True, slots=True)
class SettingError:
    """What is wrong with the setting at `path` (dotted, empty for the whole).

    `unknown`: there is no such setting, and `message` is a suggestion or empty. `meant`: those it may stand for.
    """

    path: str
    message: str
    unknown: bool = False
    meant: tuple[Location, ...] = ()

    @property
    def text(self) -> str:
        """A sentence for either kind."""
        return with_suggestion("unknown setting", self.message) if self.unknown else self.message


def setting_errors(
    error: ValidationError, raw: Any, model: type[BaseModel], defaults: Mapping[str, Any] = MappingProxyType({})
) -> list[SettingError]:
    """Unknown settings first. `model` refused `raw` with the `defaults` it lacks. Messages about one setting (`auto` or
    a number) are joined; one that only follows from another is left out. The first ERRORS_SHOWN are looked at."""
    names = Names(raw, model)
    first = error.errors(include_url=False, include_input=False)[:ERRORS_SHOWN]
    problems = [(one, _place(one, raw)) for one in first]
    corrected = copy.deepcopy(raw)
    found = [wrong for one, place in problems for wrong in _wrong_type(one, place, corrected, names)]
    if not found:
        return _errors(problems, raw, names)
    try:
        model.model_validate({**defaults, **corrected})
    except ValidationError as rest:
        found += setting_errors(rest, corrected, model, defaults)
    return sorted(found, key=lambda one: not one.unknown)


def _wrong_type(problem: ErrorDetails, place: Location, raw: Any, names: Names) -> Iterator[SettingError]:
    """The `type` of a section with a misspelled name or value. It is corrected in `raw`, for what else is wrong with
    the section depends on it."""
    section = _value(raw, place[:-1])
    if problem["type"] in ("union_tag_invalid", "method_type"):
        if near := names.value(place, section["type"]):
            section["type"] = near
            yield SettingError(dotted(place), _with_value(_message(problem), near))
        return
    candidates = {"extra_forbidden": place[-1:], "union_tag_not_found": tuple(section or ())}.get(problem["type"], ())
    for key in candidates:
        where = (*place[:-1], key)
        if names.setting(where).meant == ((*place[:-1], "type"),):
            section["type"] = section.pop(key)
            yield SettingError(dotted(where), "did you mean type?", unknown=True, meant=((*place[:-1], "type"),))
            return


def _errors(problems: list[tuple[ErrorDetails, Location]], raw: Any, names: Names) -> list[SettingError]:
    unknown: list[SettingError] = []
    misspelled: set[Location] = set()
    messages: dict[Location, list[str]] = {}
    suggestions: dict[Location, str] = {}
    for problem, where in problems:
        if problem["type"] == "extra_forbidden":
            suggestion = names.setting(where)
            unknown.append(SettingError(dotted(where), suggestion.text, unknown=True, meant=suggestion.meant))
            misspelled.update(suggestion.meant)
        elif problem["type"] == "too_short" and problem["ctx"]["actual_length"] < len(_value(raw, where) or ()):
            continue  # the list is long enough: entries with errors of their own were left out
        else:
            messages.setdefault(where, []).append(_message(problem))
            if problem["type"] in _WRONG_VALUES:
                suggestions[where] = names.value(where, _value(raw, where))
    for where in misspelled:
        messages.pop(where, None)  # "Field required", for it was given under another name
    return unknown + [
        SettingError(dotted(where), _with_value(", or ".join(dict.fromkeys(many)), suggestions.get(where, "")))
        for where, many in messages.items()
    ]


def faulty(error: ValidationError, raw: Any) -> list[Location]:
    """What to remove of `raw` so that it has fewer errors, later entries of a list first. A missing setting cannot be
    removed: the section that lacks it is."""
    found = {
        place[:-1] if problem["type"] in ("missing", "union_tag_not_found") else place
        for problem in error.errors(include_url=False, include_input=False)
        for place in [_place(problem, raw)]
    }
    return sorted(found, key=lambda where: [(isinstance(part, str), part) for part in where], reverse=True)


def remove(raw: Any, where: Location) -> None:
    """Remove a setting or an entry in place. One that is not there, or no more, is left alone."""
    for part in where[:-1]:
        raw = raw[part] if has(raw, part) else None
    if has(raw, where[-1]):
        del raw[where[-1]]


def _place(problem: ErrorDetails, raw: Any) -> Location:
    where = location(problem["loc"], raw, missing=problem["type"] == "missing")
    return (*where, "type") if problem["type"] in _ABOUT_TYPE else where


def _message(problem: ErrorDetails) -> str:
    if problem["type"] == "union_tag_invalid":
        return f"Input should be one of {problem['ctx']['expected_tags']}"
    if problem["type"] in _MESSAGES:
        return _MESSAGES[problem["type"]]
    return problem["msg"].removeprefix("Value error, ").replace("Tuple should", "List should", 1).rstrip(".")


def _with_value(message: str, near: str) -> str:
    return with_suggestion(message, f"did you mean '{near}'?" if near else "")


def with_suggestion(message: str, suggestion: str) -> str:
    return f"{message} ({suggestion})" if suggestion else message


def location(found: Location, raw: Any, *, missing: bool) -> Location:
    """Where a setting stands in `raw`: `loc` of pydantic without the tags it adds for the branches of a union."""
    path: list[int | str] = []
    tagged = False
    for part, following in itertools.zip_longest(found, found[1:]):
        # What kind of a grader it is stands in the path too, once, and may be the name of a setting as well.
        is_kind = isinstance(raw, dict) and not tagged and part == raw.get("type")
        block = raw.get(part) if is_kind else None
        if is_kind and not (isinstance(block, dict) and following in block):
            tagged = True
            continue
        inside = (isinstance(raw, dict) and part in raw) or (isinstance(raw, list) and isinstance(part, int))
        if not inside and not (missing and part == found[-1]):
            continue
        path.append(part)
        raw, tagged = raw[part] if inside else None, False
    return tuple(path)


def dotted(where: Location) -> str:
    """`evaluation.graders[0].type`."""
    path = ""
    for part in where:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _value(raw: Any, where: Location) -> Any:
    for part in where:
        raw = raw[part] if has(raw, part) else None
    return raw
