"""Validation errors of pydantic as errors of settings: by path, each once, with a suggestion."""

import copy
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from rapidfuzz import process
from rapidfuzz.distance import OSA

from shared.domain.beside import read_beside
from shared.domain.findings import ERRORS_SHOWN

Location = tuple[int | str, ...]

_TABLES: dict[str, dict[str, str]] = read_beside(__file__, "other_tools.toml")
_SETTINGS = {
    other: [ours for ours, others in _TABLES["settings"].items() if other in others.split()]
    for names in _TABLES["settings"].values()
    for other in names.split()
}
_REASONS = {other: reason for reason, names in _TABLES["without"].items() for other in names.split()}
_VALUES = {other: ours.split() for other, ours in _TABLES["values"].items()}
_MOST_NAMED = 3
_Evidence = Callable[[str, Iterable[str]], list[str]]  # those of the names that the key may stand for


class Suggestion(NamedTuple):
    """`text`, or nothing. `meant`: the settings it names, without those that the recipe has."""

    text: str = ""
    meant: tuple[Location, ...] = ()


class _Setting(NamedTuple):
    path: tuple[str, ...]
    type: str  # of the section it belongs to, empty where a section has one shape
    valid: bool  # with the types that the recipe has


class Names:
    """What the names in a recipe that `model` refused may stand for; `raw` is the recipe as written. A suggestion is
    accepted at its place. Kinds of evidence are asked in turn: the surest first, the same section before others."""

    def __init__(self, raw: Any, model: type[BaseModel]) -> None:
        self._raw = raw
        self._schema = _schema(model)

    def setting(self, where: Location) -> Suggestion:
        """For a setting that does not exist at this place."""
        section, key = where[:-1], _plain(str(where[-1]))
        here = list(dict.fromkeys(name for place in self._at(section) for name in place.get("properties", {})))
        in_list = any(isinstance(part, int) for part in where)
        found = _same(key, here) or _of_tools(key, here)
        if not found and not in_list and (known := self._known(key, section)).text:
            return known
        near = _nearest(key, here, 1) if len(key) >= 6 else []
        found = found or list(dict.fromkeys([*near, *_whole_words(key, here)]))
        found = found or _misspelled(key, here) or _fewer_words(key, here)
        if found or in_list:
            return self._did_you_mean(section, [(*section, name) for name in found])
        return self._elsewhere(key, section, _same, _misspelled_elsewhere, _whole_words)

    def value(self, where: Location, value: Any) -> str:
        """The value that is most likely meant by one that the setting at this place does not accept, or nothing."""
        accepted = list(dict.fromkeys(value for place in self._at(where) for value in _values(place)))
        key = _plain(str(value)) if isinstance(value, str | bool) else ""
        return next(iter([ours for ours in _VALUES.get(key, ()) if ours in accepted] or _misspelled(key, accepted)), "")

    def _known(self, key: str, section: Location) -> Suggestion:
        """A name of another tool that is none of ours."""
        if key in _REASONS:
            return Suggestion(_REASONS[key])
        ours = any(one.path[-1] == key for one in self._settings)
        return Suggestion() if ours else self._elsewhere(key, section, _of_tools)

    def _elsewhere(self, key: str, section: Location, *kinds: _Evidence) -> Suggestion:
        """A setting of another section, or one that another `type` has."""
        others = [one for one in self._settings if one.path != section[: len(one.path)]]
        for evidence in kinds:
            names = evidence(key, dict.fromkeys(one.path[-1] for one in others))
            meant = [one for one in others if one.path[-1] in names]
            valid = list(dict.fromkeys(one.path for one in meant if one.valid))
            if types := dict.fromkeys(one.type for one in meant if not one.valid and one.path[:-1] == section):
                name = "it" if evidence is _same else names[0]
                or_of = "".join(f", or of {'.'.join(path[:-1])}" for path in valid)
                return Suggestion(f"{name} is a setting of method.type {' and '.join(types)}{or_of}", tuple(valid))
            if valid and evidence is _same:
                sections = (".".join(path[:-1]) or "the top level" for path in valid)
                return Suggestion(f"it belongs under {' or '.join(sections)}", tuple(valid))
            if valid:
                return self._did_you_mean(section, valid)
            if meant:
                types = dict.fromkeys(one.type for one in meant)
                return Suggestion(f"{'.'.join(meant[0].path)} is a setting of method.type {' and '.join(types)}")
        return Suggestion()

    def _did_you_mean(self, section: Location, paths: Sequence[Location]) -> Suggestion:
        if not paths:
            return Suggestion()
        missing = tuple(path for path in paths if not has(_value(self._raw, path[:-1]), path[-1]))
        shown = [_shown(path, section) for path in missing or paths]
        listed = " or ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)
        return Suggestion(f"did you mean {listed}{'' if missing else ', which is given too'}?", missing)

    @cached_property
    def _settings(self) -> list[_Setting]:
        """Every setting that does not stand in a list."""
        return list(self._inside(_shapes(self._schema, self._schema), (), self._raw, "", valid=True))

    def _inside(
        self, shapes: list[dict[str, Any]], path: tuple[str, ...], raw: Any, kind: str, *, valid: bool
    ) -> Iterator[_Setting]:
        chosen = _chosen(shapes, raw)
        for shape in shapes:
            of_type, possible = _type_of(shape) or kind, valid and shape in chosen
            for name, setting in shape.get("properties", {}).items():
                yield _Setting((*path, name), of_type, possible)
                inner = raw[name] if has(raw, name) else None
                yield from self._inside(_shapes(self._schema, setting), (*path, name), inner, of_type, valid=possible)

    def _at(self, where: Location) -> list[dict[str, Any]]:
        """The JSON schemas that may apply at a place; of the shapes of a section the one that its `type` chooses."""
        raw = self._raw
        nodes = _chosen(_shapes(self._schema, self._schema), raw)
        for part in where:
            raw = raw[part] if has(raw, part) else None
            children = [child for node in nodes for child in _children(node, part)]
            nodes = _chosen([shape for child in children for shape in _shapes(self._schema, child)], raw)
        return nodes


def _shown(path: Location, section: Location) -> str:
    if path[:-1] == section:
        return str(path[-1])
    return ".".join(map(str, path)) if path[1:] else f"{path[0]} at the top level"


def _plain(name: str) -> str:
    """`numTrainEpochs`, `num-train-epochs` and `num_train_epochs` are one name."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[\W_]+", "_", name).strip("_").lower()


def nearest_name(name: str, names: Iterable[str]) -> str:
    """The one of a file's names that another name most likely stands for, or nothing."""
    choices = {_plain(one): one for one in names}
    found = _misspelled(_plain(name), choices)
    return choices[found[0]] if len(found) == 1 else ""


def _same(key: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.replace("_", "") == key.replace("_", "")]


def _of_tools(key: str, names: Iterable[str]) -> list[str]:
    return [ours for ours in _SETTINGS.get(key, ()) if ours in names][:1]


def _misspelled(key: str, names: Iterable[str]) -> list[str]:
    """One letter in four may be wrong, left out, added or swapped with the next."""
    return _nearest(key, names, max(1, len(key) // 4)) if len(key) >= 3 else []


def _misspelled_elsewhere(key: str, names: Iterable[str]) -> list[str]:
    """More must be right, since many names are compared."""
    return _nearest(key, names, len(key) // 6)


def _nearest(key: str, names: Iterable[str], most: int) -> list[str]:
    """Those at the smallest distance."""
    choices = {name: name.replace("_", "") for name in names}
    found = process.extract(key.replace("_", ""), choices, scorer=OSA.distance, score_cutoff=most, limit=None)
    return [name for _, distance, name in found if distance == found[0][1]]


def _whole_words(key: str, names: Iterable[str]) -> list[str]:
    """Names that have every word of the key: `lora`, `deadline`."""
    found = [name for name in names if set(key.split("_")) <= set(name.split("_"))]
    return found if len(found) <= _MOST_NAMED else []


def _fewer_words(key: str, names: Iterable[str]) -> list[str]:
    """Names of several words that the key has, and others: `batch_size_per_device`."""
    return [name for name in names if "_" in name and set(name.split("_")) < set(key.split("_"))]


@cache
def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema()


def has(raw: Any, part: int | str) -> bool:
    """Whether `raw[part]` exists."""
    return part in raw if isinstance(raw, dict) else isinstance(raw, list) and isinstance(part, int) and part < len(raw)


def _children(node: dict[str, Any], part: int | str) -> list[dict[str, Any]]:
    if isinstance(part, int):
        return [node["items"]] if "items" in node else []
    found = node.get("properties", {}).get(part)
    return [found] if found else list(node.get("patternProperties", {}).values())


def _shapes(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """A node without references and alternatives."""
    if "$ref" in node:
        return _shapes(schema, schema["$defs"][node["$ref"].removeprefix("#/$defs/")])
    alternatives = node.get("anyOf", node.get("oneOf"))
    return [shape for one in alternatives for shape in _shapes(schema, one)] if alternatives else [node]


def _type_of(shape: dict[str, Any]) -> str:
    return str(shape.get("properties", {}).get("type", {}).get("const", ""))


def _chosen(shapes: list[dict[str, Any]], raw: Any) -> list[dict[str, Any]]:
    """Those of the `type` that `raw` has; without one, those where it may be left out."""
    kind = raw.get("type") if isinstance(raw, dict) else None
    if kind is None:
        return [shape for shape in shapes if "type" not in shape.get("required", ())] or shapes
    return [shape for shape in shapes if _type_of(shape) == kind] or shapes


def _values(shape: dict[str, Any]) -> list[str]:
    """Those a setting accepts; of a section, those of its `type`."""
    return [str(value) for value in shape.get("enum", [shape["const"]] if "const" in shape else [])]


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
    """What is wrong with the setting at `path` (dotted, empty: the whole). `meant`: settings it may stand for."""

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
    """A misspelled `type`, corrected in `raw`, for what else is wrong with the section depends on it."""
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
    """What to remove of `raw`, later entries of a list first; of a missing setting the section."""
    found = {
        place[:-1] if problem["type"] in ("missing", "union_tag_not_found") else place
        for problem in error.errors(include_url=False, include_input=False)
        for place in [_place(problem, raw)]
    }
    return sorted(found, key=lambda where: [(isinstance(part, str), part) for part in where], reverse=True)


def remove(raw: Any, where: Location) -> None:
    """Remove a setting or an entry in place. One that is not there, or no more, is left alone."""
    if has(section := _value(raw, where[:-1]), where[-1]):
        del section[where[-1]]


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
