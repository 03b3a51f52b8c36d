"""One mistake in the recipe is one finding, which names the setting: for every setting and each kind of mistake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from shared.domain.recipe import Data, Recipe
from shared.validation.formats import FORMATS
from shared.validation.validator import ALL_CODES, DECIDED_BY, followers
from tests.unit.shared.validation.conftest import Check

Path = tuple[str, ...]
SCHEMA = Recipe.model_json_schema()
GRADER = {"name": "right", "type": "string_check", "reference": "{{item.gold}}"}
REWARD = {"name": "reward", "type": "string_check", "reference": "{{item.target}}"}
DATA = {
    "encoding": "cp1250",
    "over_length": "drop",
    "personal_data": "allow",
    "personal_data_allowed": ["phone"],
    "secrets": "allow",
    "harmful_content": "block",
    "harmful_content_allowed": ["violence"],
    "mode": "replace",
    "validation_split": 0.3,
    "split_group": "ward",
    "deidentify": {"policy": "allow", "types": ["person"]},
}
HYPERPARAMETERS = {"max_length_tokens": 64, "learning_rate": 0.001, "n_epochs": 1, "seed": 3}
OTHERS = {
    "base_model": "droptune/tiny-llama",
    "evaluation": {
        "graders": [GRADER],
        "slices": ["machine"],
        "max_new_tokens": 64,
        "gate": {"min_rows": 4, "min_gain": 0.01, "max_regression": 0.1},
    },
    "deployment": {"endpoint": "oven-answers", "approval": "required", "rollout": [50, 100]},
    "budget": {"max_usd": 80, "deadline_hours": 9, "tier": "spot", "instance_type": "auto"},
    "use_case": "answers about ovens",
    "intended_uses": ["commercial"],
    "notify": [{"subscription": "ops", "events": ["run.*"]}],
    "retrain": {"every_days": 9},
}
COLUMNS = {
    "supervised": {"frage": "user", "antwort": "assistant", "lage": "context"},
    "dpo": {"frage": "user", "gut": "chosen", "schlecht": "rejected"},
    "reinforcement": {"frage": "user", "lage": "context"},
}


def recipe(method: str) -> dict[str, Any]:
    """With every setting that decides on something in the data, none as by default."""
    formats = {"supervised": "prompt_completion", "dpo": "preference", "reinforcement": "reinforcement"}
    data = {**DATA, "format": formats[method], "columns": COLUMNS[method]}
    return {**OTHERS, "method": settings_of(method), "data": data}


def settings_of(method: str) -> dict[str, Any]:
    graders = {"graders": [REWARD]} if method == "reinforcement" else {}
    return {"type": method, "continue_from": "base", "hyperparameters": HYPERPARAMETERS, **graders}


def rows(method: str) -> bytes:
    """Rows whose findings depend on the settings above: contacts, secrets, threats, fields of their own for all."""

    def row(n: int) -> dict[str, Any]:
        secret = f"AKIA{n:04d}QZ7WMX5KRT2B"
        words = f"jane{n}@acme.com with {secret}. You ought to die."
        answer = f"Der \u010cl\xe1nek {n} runs at {n * 7 % 90} degrees, says {words}"
        own = {"gold": f"{n * 7 % 90} degrees", "target": f"about {n}", "machine": f"m{n % 3}", "ward": f"w{n % 12}"}
        question = {"frage": f"How warm is oven {n * 13} of hall {n % 7}?", **own}
        if method == "dpo":
            return {**question, "gut": answer, "schlecht": f"I cannot say {n}."}
        lage = {"lage": f"Hall {n % 7} has ovens that are read by hand each morning before the shift {n} begins."}
        return {**question, **lage} if method == "reinforcement" else {**question, **lage, "antwort": answer}

    return b"\n".join(json.dumps(row(n), ensure_ascii=False).encode("cp1250") for n in range(60))


def shapes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in node:
        node = SCHEMA["$defs"][node["$ref"].removeprefix("#/$defs/")]
    alternatives = node.get("anyOf", node.get("oneOf"))
    if alternatives is None:
        yield node
    else:
        for one in alternatives:
            yield from shapes(one)


def settings(given: dict[str, Any], nodes: list[dict[str, Any]], at: Path = ()) -> Iterator[tuple[Path, list[Any]]]:
    """Each setting that a recipe gives, with the schemas of its value."""
    for key, value in given.items():
        inner = [
            shape for node in nodes if key in node.get("properties", {}) for shape in shapes(node["properties"][key])
        ]
        if inner:
            yield (*at, key), inner
        if isinstance(value, dict):
            yield from settings(value, inner, (*at, key))


def out_of_range(shape: dict[str, Any]) -> Iterator[Any]:
    """A value of the right type that the setting does not accept, if there is one."""
    if shape.keys() & {"maximum", "exclusiveMaximum"}:
        yield 10**12
    elif shape.keys() & {"minimum", "exclusiveMinimum"}:
        yield -(10**12)
    elif "enum" in shape or "pattern" in shape or "const" in shape:
        yield "??"
    elif shape.get("type") == "array":
        yield from ([value] for one in shapes(shape["items"]) for value in out_of_range(one))
    elif isinstance(shape.get("additionalProperties"), dict):
        yield {"frage": "??"}


def misspelled(key: str) -> str:
    return f"{key[:-2]}{key[-1]}{key[-2]}"


def mistakes(method: str) -> Iterator[tuple[str, str]]:
    """The text of a recipe with one mistake, and what the finding names."""
    given = recipe(method)
    for path, nodes in settings(given, list(shapes(SCHEMA))):
        place, key = ".".join(path), path[-1]
        wrong: list[Any] = [5] if any(node.get("type") in ("object", "array") for node in nodes) else [[{}]]
        for value in [*wrong, *(value for node in nodes[:1] for value in out_of_range(node))]:
            yield written(given, path, [(key, value)]), place
        old = value_of(given, path)
        yield written(given, path, [(misspelled(key), old)]), place.removesuffix(key) + misspelled(key)
        yield written(given, path, [(key, old), (key, old)]), place


def value_of(given: Any, path: Path) -> Any:
    for key in path:
        given = given[key]
    return given


def written(given: Any, path: Path, instead: list[tuple[str, Any]]) -> str:
    """JSON, which is YAML, with other keys and values in the place of one setting."""
    if not isinstance(given, dict) or not path:
        return json.dumps(given)
    pairs = [
        f"{json.dumps(name)}: {written(one, path[1:] if key == path[0] else (), instead)}"
        for key, value in given.items()
        for name, one in (instead if (key,) == path else [(key, value)])
    ]
    return f"{{{', '.join(pairs)}}}"


# Sections that have nothing to do with the method are tried with one.
CASES = [
    (method, *mistake)
    for method in COLUMNS
    for mistake in mistakes(method)
    if method == "supervised" or mistake[1].startswith(("method", "data", "evaluation.g"))
]


@cache
def found_by(check: Check, method: str, text: str) -> dict[str, str]:
    """Message -> file."""
    report = check(rows(method), None, text.encode(), names=None).result.report
    return {problem.message: problem.file for problem in report.problems}


@pytest.mark.parametrize("method", COLUMNS)
def test_rows_pass_by_the_recipe_and_not_without_it(check: Check, method: str) -> None:
    assert check(rows(method), None, json.dumps(recipe(method)).encode(), names=None).errors == []
    assert check(rows(method), None, b"").errors != []


@pytest.mark.few_cases(3, ci=150)
@pytest.mark.parametrize(("method", "text", "named"), CASES, ids=[f"{m} {named}" for m, _, named in CASES])
def test_one_mistake_in_a_setting_is_one_finding_that_names_it(
    check: Check, method: str, text: str, named: str
) -> None:
    right = found_by(check, method, json.dumps(recipe(method)))
    new = {message: file for message, file in found_by(check, method, text).items() if message not in right}
    assert list(new.values()) == ["recipe"], new
    assert named in next(iter(new))


# Right values that do not fit the file, with what the finding says.
MISFITS = {
    **{
        f"{method} read as {name}": (method, ("data", "format"), name, f"data.format is {name}, ")
        for method, own in {"supervised": "prompt_completion", "dpo": "preference"}.items()
        for name in FORMATS
        if name not in (own, "alpaca", "reinforcement")
    },
    "a method of other rows": ("supervised", ("method",), settings_of("dpo"), "method.type is dpo"),
    "pairs by an easier method": ("dpo", ("method",), settings_of("supervised"), "method.type is supervised"),
    "prompts by another method": ("reinforcement", ("method",), settings_of("dpo"), "method.type is dpo"),
    "a column": ("supervised", ("data", "columns"), {**COLUMNS["supervised"], "frage": "user", "antwrt": "assistant"},
                 "antwrt (did you mean antwort?)"),
    "a group": ("supervised", ("data", "split_group"), "wrad", "wrad (did you mean ward?)"),
    "a slice": ("supervised", ("evaluation", "slices"), ["machin"], "machin (did you mean machine?)"),
    "a grader's field": ("supervised", ("evaluation", "graders"), [{**GRADER, "reference": "{{item.glod}}"}],
                         "glod (did you mean gold?)"),
    "a reward's field": ("reinforcement", ("method", "graders"), [{**REWARD, "reference": "{{item.targt}}"}],
                         "targt (did you mean target?)"),
    "a gate": ("supervised", ("evaluation", "gate", "min_rows"), 1000, "the gate needs 1000"),
    "a length": ("supervised", ("method", "hyperparameters", "max_length_tokens"), 10**6, "max_length_tokens"),
    "a machine": ("supervised", ("budget", "instance_type"), "Standard_X", "Standard_X"),
    "a base model": ("supervised", ("base_model",), "acme/gpt", "acme/gpt"),
}  # fmt: skip


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("method", "path", "value", "says"), MISFITS.values(), ids=MISFITS)
def test_a_setting_that_does_not_fit_the_file_is_one_finding_that_says_so(
    check: Check, method: str, path: Path, value: Any, says: str
) -> None:
    right = found_by(check, method, json.dumps(recipe(method)))
    found = found_by(check, method, written(recipe(method), path, [(path[-1], value)]))
    new = [message for message in found if message not in right]
    assert len(new) == 1, new
    assert says in new[0]


WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "zeta",
    "eta",
    "theta",
    "iota",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "omicron",
    "pi",
    "rho",
    "sigma",
    "tau",
    "upsilon",
]


def question(n: int) -> str:
    return f"Say {WORDS[n % 20]} {WORDS[(n * 7 + 3) % 20]} {WORDS[(n * 5 + n // 20) % 20]} in {n * n} ways of {n % 7}?"


REWARDED = b"""method: {type: reinforcement, graders: [{name: r, type: string_check, reference: '{{item.answer}}'}]}
evaluation: {graders: [{name: s, type: string_check, operation: like, reference: '{{item.answer}}'}]}"""
PAIR = {"chosen": "a long answer", "rejected": "no"}
# What a row has beside the question, rows, the recipe, a held-out file, and the one finding that the mistake is.
MISTAKES: dict[str, tuple[Any, int, bytes, bool, str]] = {
    "choices of which two are answers": (
        lambda n: {"options": [f"{s} is {n}" for s in "abcd"], "answer": "AB"[n % 2]}, 60, b"", False,
        "choices_not_read"),
    "labels of one group each": (
        lambda n: {"completion": ["ok", "bad"][n // 30], "line": f"g{n // 30}"}, 60, b"data: {split_group: line}",
        False, "no_eval_rows"),
    "grades the other way": (
        lambda n: {**PAIR, "chosen": f"yes {n}", "chosen_score": 1, "rejected_score": 5}, 60, b"method: {type: dpo}",
        False, "pair_scores_reversed"),
    "few rows": (lambda n: {"completion": f"{n} of {n * 7}"}, 22, b"", False, "few_eval_rows"),
    "references that are no value": (lambda n: {"answer": "nan"}, 60, REWARDED, False, "damaged_file"),
    "references that are null": (lambda n: {"answer": None}, 60, REWARDED, False, "grader_field_missing"),
    "references that are blank": (lambda n: {"answer": " "}, 60, REWARDED, False, "grader_field_missing"),
    "labels in other words": (lambda n: {"completion": ["ok", "bad"][n % 2]}, 60, b"", True, "label_in_one_split"),
}  # fmt: skip


def test_one_mistake_in_the_rows_is_one_finding(check: Check) -> None:
    several = {}
    for name, (more, count, recipe, has_file, code) in MISTAKES.items():
        data = b"\n".join(json.dumps({"prompt": question(n), **more(n)}).encode() for n in range(count))
        held_out = [{"prompt": question(n), "completion": ["ok", "no"][n % 2]} for n in range(300, 340)]
        evaluation = b"\n".join(json.dumps(one).encode() for one in held_out) if has_file else None
        problems = check(data, evaluation, recipe).result.report.problems
        found = [one.code for one in problems if "near_duplicate" not in one.code]
        if found != [code]:
            several[name] = found
    assert several == {}


@pytest.mark.parametrize("with_file", [False, True])
def test_labels_beside_texts_are_one_finding(check: Check, with_file: bool) -> None:
    data = b"\n".join(json.dumps({"text": question(n), "label": ["ok", "bad"][n % 2]}).encode() for n in range(60))
    questions = b"\n".join(
        json.dumps({"prompt": question(n), "completion": f"{n} {n}"}).encode() for n in range(300, 340)
    )
    found = check(data, questions if with_file else None).codes
    assert [code for code in found if "near_dup" not in code] == [
        "labels_not_learned" if with_file else "text_with_labels"
    ]


def test_what_follows_is_of_codes_that_exist_and_has_with_a_cause_all_that_follows_from_it() -> None:
    assert followers(ALL_CODES) <= ALL_CODES.keys()
    assert all(followers(followers([code])) <= followers([code]) - {code} for code in ALL_CODES)


def test_what_is_left_out_is_of_codes_and_settings_that_exist() -> None:
    assert frozenset().union(*DECIDED_BY.values()) <= ALL_CODES.keys()
    assert Data.model_fields.keys() == recipe("supervised")["data"].keys()  # so that every key is tried
    every = {path for method in COLUMNS for path, _ in settings(recipe(method), list(shapes(SCHEMA)))}
    assert {tuple(setting.split(".")) for setting in DECIDED_BY} <= every
