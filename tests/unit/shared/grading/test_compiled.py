"""Text graders, templates and similarity."""

from __future__ import annotations

import random
from typing import Any, get_args

import pytest
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
from nltk.translate.gleu_score import sentence_gleu
from pydantic import ValidationError
from rapidfuzz import fuzz
from rouge_score.rouge_scorer import RougeScorer

from shared.domain.graders import PythonGrader, ScoreModel, SimpleGrader
from shared.grading import Engine, GradingErrorCode, fields, problems
from shared.grading.compiled import _BUILDERS
from shared.grading.similarity import bleu, gleu, similarity


@pytest.mark.parametrize(
    ("operation", "text", "expected"),
    [
        ("eq", " M5 x 40 ", 1),
        ("eq", "m5 x 40", 0),
        ("ne", "m5 x 40", 1),
        ("like", "It is M5 x 40.", 1),
        ("like", "It is m5 x 40.", 0),
        ("ilike", "It is m5 x 40.", 1),
    ],
)
def test_a_string_check_compares_with_the_reference(operation: str, text: str, expected: float, score: Any) -> None:
    assert score({"type": "string_check", "operation": operation}, text, answer="M5 x 40") == expected


def test_templates_read_rows_and_answers_with_or_without_spaces(score: Any, read: Any) -> None:
    spec = {
        "type": "string_check",
        "input": "{{ sample.output_json.part.code }}",
        "reference": "{{item.a}}-{{ item.b }}",
    }
    assert score(spec, '{"part": {"code": "SC-4"}}', a="SC", b=4) == 1
    assert fields([read(spec)]) == {"a", "b"}


@pytest.mark.parametrize("item", [{"meta": {"part": "SC"}}, {"meta.part": "SC"}])
def test_templates_read_fields_in_objects_by_their_paths(item: dict[str, Any], score: Any, read: Any) -> None:
    spec = {"type": "string_check", "reference": "{{item.meta.part}}"}
    assert score(spec, "SC", **item) == 1
    assert fields([read(spec)]) == {"meta.part"}


def test_an_answer_that_is_not_json_scores_0_and_says_so(grade: Any) -> None:
    graded = grade({"type": "string_check", "input": "{{sample.output_json.part}}"}, "no json", answer="x")
    assert (graded.score, graded.parts, graded.errors[0].code) == (0, {"g": 0}, GradingErrorCode.SAMPLE_PARSE)


def test_a_row_without_the_field_is_an_error_and_no_zero(grade: Any) -> None:
    graded = grade({"type": "string_check", "reference": "{{item.part}}"}, "x", answer="x")
    assert (graded.score, graded.parts) == (None, {})
    assert [(error.grader, error.code, error.message) for error in graded.errors] == [
        ("g", GradingErrorCode.INVALID_VARIABLE, "the row has no item.part")
    ]


@pytest.mark.parametrize("template", ["{{other.x}}", "{{item}}", "{{sample.output}}", "{{item.a", "{{ item.list[0] }}"])
def test_an_unknown_template_is_a_problem_of_the_recipe(template: str, read: Any) -> None:
    grader = read({"type": "string_check", "reference": template})
    [(setting, message)] = problems([grader], "evaluation.graders")
    assert setting == "evaluation.graders[0].reference"
    assert template in message


def test_a_list_of_graders_is_their_weighted_mean(grade: Any, read: Any) -> None:
    specs = [
        {"name": "exact", "type": "string_check", "weight": 3},
        {"name": "short", "type": "regex", "pattern": "^.{1,3}$"},
    ]
    with Engine([read(spec) for spec in specs]) as engine:
        both, one = engine.grade(["M5", "M6"], [{"answer": "M5"}] * 2)
    assert (both.score, one.score) == (1, 0.25)
    assert one.parts == {"exact": 0, "short": 1}


def test_a_regex_takes_a_rows_text_letter_for_letter(score: Any) -> None:
    spec = {"type": "regex", "pattern": "^{{item.part}}$"}
    assert score(spec, "A.4", part="A.4") == 1
    assert score(spec, "AX4", part="A.4") == 0


@pytest.mark.parametrize("pattern", ["(a", "(?=x)y", r"(a)\1"])
def test_a_pattern_re2_cannot_read_is_a_problem_of_the_recipe(pattern: str, read: Any) -> None:
    [(setting, message)] = problems([read({"type": "regex", "pattern": pattern})], "graders")
    assert setting == "graders[0].pattern"
    assert "RE2" in message


@pytest.mark.timeout(60)
def test_a_pattern_that_hangs_other_engines_takes_no_time(score: Any) -> None:
    assert score({"type": "regex", "pattern": "^(a+)+$"}, "a" * 50_000 + "b") == 0


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"type": "label_model"}, "label_model is not built"),
        ({"type": "endpoint"}, "endpoint is not built"),
        ({"type": "text_similarity", "evaluation_metric": "meteor"}, "meteor is not built"),
        ({"type": "text_similarity", "evaluation_metric": "cosine"}, "cosine is not built"),
        ({"type": "other"}, "does not match any of the expected tags"),
    ],
)
def test_what_is_not_built_is_refused_by_name(spec: dict[str, Any], reason: str, read: Any) -> None:
    with pytest.raises(ValidationError, match=reason):
        read(spec)


WORDS = "the claim was denied because policy section two needs prior approval by a doctor"


def sentence_pairs() -> list[tuple[list[str], list[str]]]:
    draw = random.Random(4)
    return [
        (draw.choices(WORDS.split(), k=draw.randint(1, 14)), draw.choices(WORDS.split(), k=draw.randint(1, 14)))
        for _ in range(200)
    ]


@pytest.mark.filterwarnings("ignore:.*hypothesis contains 0 counts")
def test_bleu_and_gleu_are_those_of_nltk() -> None:
    smoothing = SmoothingFunction(epsilon=0.1).method1
    for answer, reference in sentence_pairs():
        assert gleu(answer, reference) == pytest.approx(sentence_gleu([reference], answer))
        expected = sentence_bleu([reference], answer, smoothing_function=smoothing)
        assert bleu(answer, reference) == pytest.approx(expected)


def test_rouge_is_that_of_its_reference_package(score: Any) -> None:
    names = {f"rouge_{n}": f"rouge{n}" for n in range(1, 6)} | {"rouge_l": "rougeL"}
    scorer = RougeScorer(list(names.values()))
    for words, other_words in sentence_pairs():
        answer, reference = " ".join(words).capitalize() + ".", " ".join(other_words)
        expected = scorer.score(reference, answer)
        for ours, theirs in names.items():
            assert similarity(ours, answer, reference) == pytest.approx(expected[theirs].fmeasure), (ours, answer)  # type: ignore[arg-type]


def test_a_fuzzy_match_is_rapidfuzz_s(score: Any) -> None:
    spec = {"type": "text_similarity", "evaluation_metric": "fuzzy_match"}
    assert score(spec, "M5 x 40 mm", answer="M5 x 40") == fuzz.ratio("M5 x 40 mm", "M5 x 40") / 100
    assert score(spec, "a" * 50_000, answer="b" * 40_000) == 0


def test_every_simple_grader_has_a_builder_or_is_compiled_by_itself() -> None:
    types = set(get_args(get_args(SimpleGrader)[0]))
    assert len(types) >= 12
    assert types == {*_BUILDERS, PythonGrader, ScoreModel}
