"""Graders in a process of their own: they score as here, and no spec, row or answer holds the caller up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter

from shared.domain.errors import Transient
from shared.domain.graders import SimpleGrader
from shared.grading import sandbox
from shared.grading.compiled import _BUILDERS
from shared.grading.engine import Engine, row_check
from shared.grading.errors import GradingErrorCode, GradingFailed
from shared.grading.sandbox import IsolatedGraders
from shared.grading.templates import Sample

CITES = r"(\d+ CFR \d+)"
SPECS: list[dict[str, Any]] = [
    {"type": "string_check"},
    {"type": "string_check", "operation": "ilike", "reference": "{{item.gone}}"},
    {"type": "text_similarity", "evaluation_metric": "rouge_l"},
    {"type": "text_similarity", "evaluation_metric": "fuzzy_match"},
    {"type": "regex", "pattern": "^[a-z]+ {{item.answer}}"},
    {"type": "citation", "pattern": CITES, "reference": "{{item.cites}}"},
    {"type": "json_schema", "json_schema": {"properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {"enum": [1]}}}},
    {"type": "json_schema", "json_schema": {"uniqueItems": True, "pattern": "^[^x]*$"}},
    {"type": "label", "labels": ["high", "low"], "reference": "{{item.level}}"},
    {"type": "reading_level", "max_grade": 4},
    {"type": "step_order", "reference": "{{item.steps}}"},
    {"type": "facts", "reference": "{{item.facts}}"},
    {"type": "grounded", "source": "{{item.facts}}, {{item.cites}}", "capitalized": True},
    {"type": "brier", "reference": "1", "pattern": r"p = (\S+)"},
    {"type": "absent", "terms": ["{{item.names}}"], "patterns": ["[0-9]{3}-[0-9]{2}"]},
    {"type": "refusal", "reference": "{{item.refuse}}"},
    {
        "type": "multi",
        "graders": {"a": {"type": "string_check"}, "b": {"type": "regex", "pattern": "low"}},
        "calculate_output": "0.5 * a + 0.5 * b",
    },
]
ROW = {
    "answer": "low",
    "level": "low",
    "cites": ["12 CFR 1002"],
    "steps": ["Stop", "Lock"],
    "facts": {"a": 1},
    "names": ["Jane Doe", "Ренé"],
    "refuse": False,
}
TEXTS = [
    "low",
    "risk low",
    '{"a": 1}',
    '{"a": 2}',
    "[1, 1.0]",
    "p = 0.4",
    "1. Stop 2. Lock",
    "see 12 CFR 1002, \\u004aane Doe",
    "I can't help",
    "\ud800",
    "",
    "[" * 5000,
    "999-99 \U0001f600",
]


def test_every_kind_scores_as_it_does_here(read: Any) -> None:
    kinds = {cls.model_fields["type"].default for cls in _BUILDERS if issubclass(cls, BaseModel)}
    assert {spec["type"] for spec in SPECS} == {*kinds, "multi"}
    graders = [read({**spec, "name": f"g{number}"}) for number, spec in enumerate(SPECS)]
    with Engine(graders) as here, Engine(graders, isolated=True) as isolated:
        assert isolated.grade(TEXTS, [ROW] * len(TEXTS)) == here.grade(TEXTS, [ROW] * len(TEXTS))


def doubled(name: str, levels: int = 40) -> dict[str, Any]:
    below = {f"d{n}": {name: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$ref": "#/$defs/d0", "$defs": {**below, f"d{levels}": {"type": "integer"}}}


def schema(document: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": document}


LONG = "x" * 1_000_000
WORDS = " ".join(f"w{n}" for n in range(100_000))
LABELS = [f"label {n}" for n in range(5000)]
DIFFERENT = json.dumps([{"x": n} for n in range(20_000)])
# Spec, answer, row. Each took seconds to weeks, gigabytes, or the process itself.
BOMBS: dict[str, tuple[dict[str, Any], str, dict[str, Any]]] = {
    **{f"{name} doubled": (schema(doubled(name)), "1", {}) for name in ("allOf", "anyOf", "oneOf")},
    **{f"{name} of an object": (schema(doubled(name)), '{"a": 1}', {}) for name in ("allOf", "anyOf", "oneOf")},
    "refers to itself": (schema({"$ref": "#"}), "1", {}),
    "refers to each other": (schema({"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#"}}}}), "1", {}),
    "unevaluated": (
        schema({"unevaluatedProperties": doubled("anyOf"), "$defs": doubled("anyOf")["$defs"]}),
        '{"a":1}',
        {},
    ),
    "if in if": (schema({"if": doubled("allOf")["$defs"]["d0"], **doubled("allOf")}), "1", {}),
    "unique objects": (schema({"uniqueItems": True}), DIFFERENT, {}),
    "unique lists": (schema({"uniqueItems": True}), json.dumps([[n] for n in range(20_000)]), {}),
    "contains": (schema({"contains": {"contains": {"contains": {}}}}), json.dumps([[[1] * 50] * 50] * 50), {}),
    "wide enumeration": (schema({"items": {"enum": list(range(10_000))}}), json.dumps(list(range(20_000))), {}),
    "deep answer": (schema({"items": {"$ref": "#"}}), "[" * 900 + "]" * 900, {}),
    "deeper answer": (schema({"items": {"$ref": "#"}}), "[" * 50_000 + "]" * 50_000, {}),
    "deep object": (schema({"additionalProperties": {"$ref": "#"}}), '{"a":' * 900 + "1" + "}" * 900, {}),
    "tiny multiple": (schema({"multipleOf": 1e-300}), "1e300", {}),
    "huge number": (schema({"multipleOf": 3}), "9" * 4000, {}),
    "huge exponent": (schema({"multipleOf": 0.1}), "1e308", {}),
    "many labels": ({"type": "label", "labels": LABELS, "reference": "label 1"}, WORDS, {}),
    "labels in each other": (
        {"type": "label", "labels": ["a " * n + "a" for n in range(90)], "reference": "a"},
        "a " * 100_000,
        {},
    ),
    "label by pattern": (
        {"type": "label", "labels": ["a", "b"], "pattern": "(a*)*b", "reference": "a"},
        "a" * 200_000,
        {},
    ),
    "one field many times": ({"type": "string_check", "reference": "{{item.a}}" * 370}, "x", {"a": LONG}),
    "an answer many times": ({"type": "string_check", "reference": "{{sample.output_text}}" * 180}, LONG, {}),
    "a deep field": (
        {"type": "string_check", "reference": "{{item.a}}"},
        "x",
        {"a": json.loads("[" * 900 + "]" * 900)},
    ),
    "a pattern of a field": ({"type": "regex", "pattern": "{{item.a}}"}, "x", {"a": "(x+x+)+y" * 50_000}),
    "a slow pattern": ({"type": "regex", "pattern": "(x+x+)+y"}, LONG, {}),
    "a pattern of states": ({"type": "regex", "pattern": "(.*a){20}" + "[ab]{100}"}, "ab" * 200_000, {}),
    "many citations": ({"type": "citation", "pattern": r"(\w)(\w)", "reference": "x"}, LONG, {}),
    "no word": (
        {"type": "text_similarity", "evaluation_metric": "fuzzy_match"},
        "ab" * 60_000,
        {"answer": "ba" * 60_000},
    ),
    "common words": (
        {"type": "text_similarity", "evaluation_metric": "rouge_l"},
        WORDS,
        {"answer": " ".join(reversed(WORDS.split()))},
    ),
    "many terms": ({"type": "absent", "terms": ["{{item.a}}"]}, WORDS, {"a": [f"term {n}" for n in range(20_000)]}),
    "long terms": ({"type": "absent", "terms": ["{{item.a}}"]}, "x", {"a": ["y " * 100_000]}),
    "combined marks": ({"type": "absent", "terms": ["a"]}, "a" + "\u0301\u0316" * 100_000, {}),
    "expanded letters": ({"type": "absent", "terms": ["a"]}, "\ufdfa" * 200_000, {}),
    "escapes": ({"type": "absent", "terms": ["a"]}, "\\u0061" * 100_000, {}),
    "many steps": (
        {"type": "step_order", "reference": "{{item.a}}"},
        " ".join(f"{n}. x" for n in range(1, 3000)),
        {"a": [["x", "x 2. x", "x 3. x"]] * 3000},
    ),
    "nested steps": ({"type": "step_order", "reference": "{{item.a}}"}, "1. x", {"a": [[["x"]]] * 100}),
    "many facts": ({"type": "facts", "reference": "{{item.a}}"}, DIFFERENT, {"a": {str(n): n for n in range(50_000)}}),
    "slots of slots": (
        {"type": "facts", "reference": "{{item.a}}", "slots": [f"s{n}" for n in range(3000)]},
        json.dumps({f"t{n}": 1 for n in range(3000)}),
        {"a": {f"t{n}": 1 for n in range(3000)}},
    ),
    "no sentence": ({"type": "reading_level", "max_grade": 4}, "a" * 2_000_000, {}),
    "apostrophes": ({"type": "reading_level", "max_grade": 4}, "a'" * 500_000, {}),
    "a probability of digits": ({"type": "brier", "reference": "1"}, "0." + "9" * 500_000, {}),
}


def test_there_are_40_bombs() -> None:
    assert len(BOMBS) >= 40


@pytest.fixture(scope="module")
def scores() -> Iterator[dict[str, Any]]:
    """One process for all: a start takes longer than most bombs."""
    spec: TypeAdapter[SimpleGrader] = TypeAdapter(SimpleGrader)
    with closing(IsolatedGraders()) as graders:
        graders._task["cpu_s"] = 0.5
        yield {
            name: graders.add(spec.validate_python({"name": "x", **one}), frozenset(item) | {"answer"})
            for name, (one, _, item) in BOMBS.items()
        }


@pytest.mark.few_cases(6)
@pytest.mark.parametrize("name", BOMBS)
def test_whatever_is_to_be_graded_comes_to_an_end(name: str, scores: dict[str, Any]) -> None:
    _, text, item = BOMBS[name]
    try:
        assert 0 <= scores[name](Sample(text), item) <= 1
    except GradingFailed as error:
        assert error.code in ("other_error", "sample_parse_error", "invalid_variable_error")  # noqa: PT017


def test_what_takes_too_long_costs_its_answer_alone(scores: dict[str, Any]) -> None:
    _, text, item = BOMBS["many terms"]
    score = scores["many terms"]
    with pytest.raises(GradingFailed, match=r"the grader's process ended \(memory, CPU time or a crash\)") as failed:
        score(Sample(text), item)
    assert failed.value.code is GradingErrorCode.OTHER
    assert score(Sample("fine"), {"a": ["term"]}) == 1


def test_what_takes_too_much_memory_costs_its_answer_alone(read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "MEMORY_BYTES", 200 * 2**20)
    with Engine([read(schema({}))], isolated=True) as engine:
        large, small = engine.grade(["[" + "[]," * 3_000_000 + "[]]", "[]"], [{}] * 2)
    assert [(error.code, error.message) for error in large.errors] == [
        (GradingErrorCode.OTHER, "row or answer is nested too deeply, or too large")
    ]
    assert (large.score, small.score) == (None, 1)


def test_no_process_outlives_what_asked_for_it(read: Any) -> None:
    graders = IsolatedGraders()
    score = graders.add(read({"type": "string_check"}), frozenset({"answer"}))
    assert score(Sample("a"), {"answer": "a"}) == 1
    assert graders._process is not None
    process = graders._process
    assert process.poll() is None
    del graders, score
    assert process.returncode is not None


def test_a_process_that_does_not_start_is_no_fault_of_a_row(read: Any) -> None:
    with closing(IsolatedGraders()) as graders:
        score = graders.add(read({"type": "string_check"}), frozenset())
        graders._command = ["-c", "raise SystemExit"]
        with pytest.raises(Transient, match="graders_not_started"):
            score(Sample("a"), {})


def test_a_grader_that_a_row_is_too_much_for_is_not_asked_about_others(
    read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "LIMIT_S", 0.3)
    spec, text, item = BOMBS["many terms"]
    faults = row_check([read(spec), read({"type": "refusal", "reference": "{{item.a}}"})])
    row = {"answer": "{" + text, **item}
    assert [*faults(row)] == [
        "item.a: the grader's process ended (memory, CPU time or a crash)",
        "item.a: the row's reference is neither true nor false",
    ]
    assert [*faults(row)] == ["item.a: the row's reference is neither true nor false"]
