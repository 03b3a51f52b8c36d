from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.evaluation import EvaluationResult
from shared.domain.graders import StringCheck
from shared.rendering import Bundle
from training_job.evaluation import scoring
from training_job.job import exit_codes

EXACT = (StringCheck(name="exact"),)
WITHOUT_SUITE = {"gate": {"max_general_regression": None}}
RECIPE = {"evaluation": {"slices": ["kind"], "max_new_tokens": 12, **WITHOUT_SUITE}}


def report_of(folder: Path) -> EvaluationResult:
    return EvaluationResult.model_validate_json((folder / "report.json").read_bytes())


def test_an_evaluation_reports_every_model_row_and_slice(
    finished: Any, bench: Callable[..., Any], tmp_path: Path, resolved: Any
) -> None:
    run = bench(tmp_path, recipe=resolved(RECIPE))
    merged = str(finished.output / "model" / "merged")
    output = tmp_path / "evaluation"
    assert run.evaluate("--candidate", merged, "--champion", merged, output=output) == 0
    report = report_of(output)
    assert (report.base.rows, report.candidate.rows) == (6, 6)
    assert [gain.over for gain in report.gains] == ["base", "champion"]
    assert (report.gains[1].low, report.gains[1].high) == (0, 0)
    assert {(part.field, part.value, part.rows) for part in report.slices} == {
        ("kind", "even", 3),
        ("kind", "odd", 3),
    }
    assert report.answers_differ > 0
    manifest = json.loads((finished.output / "model" / "manifest.json").read_text())
    assert report.template_sha256 == manifest["template_sha256"]
    models = {"base", "candidate", "champion"}
    assert set(report.seconds_per_answer) == set(report.tokens_per_answer) == models
    rows = [json.loads(line) for line in (output / "rows.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(row["prompt_tokens"] > 3 for row in rows)
    assert rows[0]["answers"]["candidate"] == rows[0]["answers"]["champion"] != rows[0]["answers"]["base"]
    assert (rows[1]["prompt"], rows[1]["reference"]) == ("What is part 1?", "a bolt of 1 mm")
    assert (rows[1]["slices"], rows[1]["sub_scores"]["base"]) == ({"kind": "odd"}, {"exact": 0})
    assert [part.name for part in report.graders] == ["exact"]
    assert (report.graders[0].candidate, report.graders[0].base) == (report.candidate, report.base)
    assert report.template_sha256 == report.base_template_sha256
    samples = json.loads((output / "samples.json").read_text())
    assert samples[0]["reference"] == "a bolt of 0 mm"
    assert (run.result(output).status, run.result(output).metrics.last_step) == ("completed", 18)
    progress = (output / "metrics.jsonl").read_text().splitlines()
    assert json.loads(progress[-1]) | {"eta_s": 0.0} == {
        "step": 18,
        "total_steps": 18,
        "model": "champion",
        "rows": 6,
        "eta_s": 0.0,
    }


def test_an_adapter_that_does_not_act_is_seen(bench: Callable[..., Any], tmp_path: Path, resolved: Any) -> None:
    run = bench(tmp_path, recipe=resolved(RECIPE))
    assert run.evaluate("--candidate", str(run.base), output=tmp_path / "e") == 0
    assert report_of(tmp_path / "e").answers_differ == 0


def test_answers_do_not_depend_on_the_batch(finished: Any, tokenizer: Any) -> None:
    import torch

    from training_job.model.generation import generate
    from training_job.model.quantized import load_model

    model = load_model(finished.output / "model" / "merged", torch.float32).eval()
    prompts = [tokenizer("a bolt" * n)["input_ids"] for n in (1, 4, 9)]
    together = generate(model, tokenizer, prompts, 12)
    assert together == [generate(model, tokenizer, [prompt], 12)[0] for prompt in prompts]


def test_the_reference_is_the_last_answer_and_the_prompt_stops_before_it(tokenizer: Any, bundle: Any) -> None:
    from training_job.evaluation.answers import question

    turns = [("user", "Part?"), ("assistant", "a bolt"), ("user", "Size?"), ("assistant", "M5")]
    parsed = question(bundle, {"messages": [{"role": r, "content": c} for r, c in turns]}, 7)
    assert (parsed.number, parsed.prompt, parsed.reference) == (7, "Size?", "M5")
    assert tokenizer.decode(parsed.ids).endswith("Size?<|im_end|>\n<|im_start|>assistant\n")


def test_the_reference_is_never_an_answer_of_weight_0(bundle: Any) -> None:
    from training_job.evaluation.answers import question

    turns = [("user", "Part?", 1), ("assistant", "a bolt", 1), ("user", "Size?", 1), ("assistant", "wrong", 0)]
    parsed = question(bundle, {"messages": [{"role": r, "content": c, "weight": w} for r, c, w in turns]}, 7)
    assert (parsed.prompt, parsed.reference) == ("Part?", "a bolt")


def test_a_prompt_of_several_turns_is_asked_to_its_end_and_has_no_reference(tokenizer: Any, bundle: Any) -> None:
    from training_job.evaluation.answers import question

    turns = [("user", "Part?"), ("assistant", "a bolt"), ("user", "Size?")]
    parsed = question(bundle, {"messages": [{"role": r, "content": c} for r, c in turns], "item": {"size": "M5"}}, 7)
    assert (parsed.prompt, parsed.reference) == ("Size?", None)
    assert tokenizer.decode(parsed.ids).endswith("Size?<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize("text", ["", " \n", "\u200b"])
def test_an_answer_of_which_nothing_is_seen_is_no_reference(text: str, bundle: Any) -> None:
    from training_job.evaluation.answers import question

    row = {"messages": [{"role": "user", "content": "Part?"}, {"role": "assistant", "content": text}]}
    with pytest.raises(PermanentFailure, match="held-out row 7 has no answer to compare with") as caught:
        question(bundle, row, 7)
    assert (caught.value.failure_class, caught.value.problem.code) == (FailureClass.DATA, "no_reference")


@pytest.mark.parametrize("text", [None, "I look it up."])
def test_a_call_the_template_does_not_write_is_no_reference(text: str | None, bundle: Any) -> None:
    from training_job.evaluation.answers import question

    template = bundle.template.text.replace("m['tool_calls'] or []", "[]").replace("m['content'] or ''", "''")
    silent = Bundle.of(bundle.tokenizer.to_str(), template, bundle.named_tokens)
    call = {"type": "function", "function": {"name": "stock", "arguments": "{}"}}
    row = {
        "messages": [
            {"role": "user", "content": "In stock?"},
            {"role": "assistant", "content": text, "tool_calls": [call]},
        ]
    }
    with pytest.raises(PermanentFailure, match="the chat template does not write it"):
        question(silent, row, 1)


def test_a_call_with_text_beside_it_is_judged_whole(bundle: Any) -> None:
    from training_job.evaluation.answers import question

    call = {"type": "function", "function": {"name": "stock", "arguments": '{"part": "A4"}'}}
    messages = [
        {"role": "user", "content": "In stock?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [call]},
    ]
    reference = question(bundle, {"messages": messages}, 1).reference
    assert reference == 'I look.<tool_call>{"name": "stock", "arguments": {"part": "A4"}}</tool_call>'


def test_a_tool_call_is_judged_by_the_text_the_template_makes_of_it(bundle: Any) -> None:
    from training_job.evaluation.answers import question

    call = {"type": "function", "function": {"name": "stock", "arguments": '{"part": "A4"}'}}
    messages = [
        {"role": "user", "content": "In stock?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    reference = question(bundle, {"messages": messages, "tools": []}, 1).reference
    assert reference == '<tool_call>{"name": "stock", "arguments": {"part": "A4"}}</tool_call>'


@pytest.mark.parametrize(
    ("name", "code", "exit_code"), [("no_reference", "no_reference", 10), ("field", "grader_field_missing", 11)]
)
def test_an_evaluation_that_cannot_be_judged_says_why(
    name: str,
    code: str,
    exit_code: int,
    bench: Callable[..., Any],
    tmp_path: Path,
    write_data: Any,
    resolved: Any,
    some_rows: list[Any],
) -> None:
    no_reference = {"messages": [{"role": "user", "content": "Part?"}]}
    held_out = [*some_rows[:2], no_reference] if name == "no_reference" else some_rows[:2]
    grader = {"name": "exact", "type": "string_check", "reference": "{{item.color}}"}
    graded = {"graders": [grader], "max_new_tokens": 2, **WITHOUT_SUITE} if name == "field" else {}
    data = write_data(tmp_path / "d", some_rows, held_out)
    run = bench(tmp_path, data=data, recipe=resolved({"evaluation": graded}))
    assert run.evaluate("--candidate", str(run.base), output=tmp_path / "e") == exit_code
    assert exit_code in exit_codes.BY_CLASS.values()
    assert run.result(tmp_path / "e").problem.code == code
    assert not (tmp_path / "e" / "report.json").exists()


def test_intervals_are_those_of_the_normal_approximation_on_many_rows() -> None:
    values = np.array([0.0, 1.0] * 200)
    low, high = scoring.Bootstrap(400, 0.95, seed=1).interval(values)
    margin = 1.96 * 0.5 / np.sqrt(400)
    assert [low, high] == pytest.approx([0.5 - margin, 0.5 + margin], abs=0.006)


def test_a_gain_is_paired_so_that_common_difficulty_cancels() -> None:
    generator = np.random.default_rng(0)
    base = generator.random(100)
    bootstrap = scoring.Bootstrap(100, 0.95, seed=1)
    gain = bootstrap.gain("base", base + 0.1, base)
    assert [gain.low, gain.high] == pytest.approx([0.1, 0.1])
    alone = bootstrap.score(base)
    assert alone.high - alone.low > 0.05


def test_the_same_scores_give_the_same_interval_every_time() -> None:
    values = np.random.default_rng(0).random(50)
    first, second = (scoring.Bootstrap(50, 0.9, seed=3).interval(values) for _ in range(2))
    assert first == second


def test_more_confidence_is_a_wider_interval() -> None:
    values = np.random.default_rng(0).random(50)
    narrow, wide = (scoring.Bootstrap(50, level, seed=3).interval(values) for level in (0.8, 0.99))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_samples_show_what_got_worse_before_what_was_fixed() -> None:
    from training_job.evaluation.answers import Question

    items = [{"answer": "x"}] * 30
    base = ["x"] * 3 + ["y"] * 27
    candidate = ["y"] * 3 + ["x"] * 20 + ["y"] * 7
    models = {
        name: scoring.grade_answers(EXACT, texts, items) for name, texts in (("base", base), ("candidate", candidate))
    }
    questions = [Question(number, "?", [], "x") for number in range(1, 31)]
    samples = scoring.pick_samples(questions, models)
    assert [sample.row for sample in samples] == [1, 2, 3, 4, 5, 6, 7, 8, 24, 25]


def test_rows_without_the_field_are_in_no_slice_and_a_field_named_twice_makes_its_slices_once() -> None:
    items = [{"answer": "x", "kind": "a"}, {"answer": "x", "kind": "b"}, {"answer": "x"}]
    models = {
        "base": scoring.grade_answers(EXACT, ["y", "x", "x"], items),
        "candidate": scoring.grade_answers(EXACT, ["x", "x", "y"], items),
    }
    slices = scoring.slice_scores(("kind", "kind"), items, models, 0.95, seed=1)
    assert [(s.value, s.rows, s.base, s.candidate, s.gain.mean) for s in slices] == [
        ("a", 1, 0, 1, 1),
        ("b", 1, 1, 1, 0),
    ]


def test_kept_answers_are_not_generated_again_and_others_are(
    finished: Any, bench: Callable[..., Any], tmp_path: Path, resolved: Any
) -> None:
    def kept_answers() -> dict[str, int]:
        """When each was written: an answer that is generated is written again."""
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "answers").iterdir()}

    run = bench(tmp_path, recipe=resolved(RECIPE))
    merged = finished.output / "model" / "merged"
    kept = ("--answers", str(tmp_path / "answers"))
    assert run.evaluate("--candidate", str(merged), *kept, output=tmp_path / "one") == 0
    first = kept_answers()
    assert len(first) == 2
    assert run.evaluate("--candidate", str(merged), *kept, output=tmp_path / "two") == 0
    assert kept_answers() == first
    assert report_of(tmp_path / "two") == report_of(tmp_path / "one")
    assert run.result(tmp_path / "two").metrics.last_step == 12
    longer = resolved({"evaluation": {**RECIPE["evaluation"], "max_new_tokens": 13}})
    run = bench(tmp_path / "longer", recipe=longer)
    assert run.evaluate("--candidate", str(merged), *kept, output=tmp_path / "three") == 0
    longer_ones = kept_answers()
    assert len(longer_ones) == 4
    assert first.items() <= longer_ones.items()


def test_the_general_suite_is_asked_and_does_not_apply_to_a_base_that_knows_nothing(
    finished: Any, bench: Callable[..., Any], tmp_path: Path, resolved: Any
) -> None:
    from shared.domain.evaluation import gate_verdict

    recipe = resolved({"evaluation": {"max_new_tokens": 12}})
    run = bench(tmp_path, recipe=recipe)
    assert run.evaluate("--candidate", str(finished.output / "model" / "merged"), output=tmp_path / "e") == 0
    report = report_of(tmp_path / "e")
    assert [(part.part, part.base.rows) for part in report.general] == [("ability", 34), ("refusal", 18)]
    checks = {check.name: check for check in gate_verdict(report, recipe.requested.evaluation.gate).checks}
    assert checks["general:ability"].skipped
    assert checks["general:refusal"].skipped
    assert run.result(tmp_path / "e").metrics.last_step == 2 * (6 + 52)
