from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from local_stack.tiny_base.shipped import shipped_base
from shared.domain.catalog import CATALOG, find_entry
from shared.domain.evaluation import EvaluationResult, gate_verdict
from training_job.evaluate import fields_of
from training_job.job import runtime

WITHOUT_SUITE = {"gate": {"max_general_regression": None}}
RECIPE = {"evaluation": {"slices": ["kind"], "pairs": "kind", "max_new_tokens": 12, **WITHOUT_SUITE}}


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
    assert [part.name for part in report.baselines] == ["majority", "nearest_neighbor", "lookup"]
    assert [part.gain.over for part in report.baselines] == [part.name for part in report.baselines]
    assert report.baselines[0].gain.mean == pytest.approx(report.candidate.mean - report.baselines[0].score.mean)
    manifest = json.loads((finished.output / "model" / "manifest.json").read_text())
    assert report.template_sha256 == manifest["template_sha256"]
    models = {"base", "candidate", "champion"}
    assert set(report.seconds_per_answer) == set(report.tokens_per_answer) == models
    rows = [json.loads(line) for line in (output / "rows.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(row["prompt_tokens"] > 3 for row in rows)
    by_kind = {name: [{row["answers"][name] for row in rows[first::2]} for first in (0, 1)] for name in models}
    alike = {name: sum(len(texts) == 1 for texts in each) for name, each in by_kind.items()}
    assert {name: (pairs.hits, pairs.rows) for name, pairs in report.pairs.items() if pairs} == {
        name: (hits, 2) for name, hits in alike.items()
    }
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


@pytest.mark.parametrize(
    ("name", "code", "exit_code"),
    [("no_reference", "no_reference", 10), ("field", "grader_field_missing", 11), ("long", "prompt_too_long", 10)],
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
    long = {"messages": [{"role": "user", "content": "part " * 4000}, {"role": "assistant", "content": "a bolt"}]}
    held_out = [*some_rows[:2], *{"no_reference": [no_reference], "long": [long]}.get(name, [])]
    grader = {"name": "exact", "type": "string_check", "reference": "{{item.color}}"}
    graded = {"graders": [grader], "max_new_tokens": 2, **WITHOUT_SUITE} if name == "field" else {}
    data = write_data(tmp_path / "d", some_rows, held_out)
    run = bench(tmp_path, data=data, recipe=resolved({"evaluation": graded}))
    assert run.evaluate("--candidate", str(run.base), output=tmp_path / "e") == exit_code
    assert exit_code in runtime.EXIT_CODES.values()
    assert run.result(tmp_path / "e").problem.code == code
    assert not (tmp_path / "e" / "report.json").exists()


@pytest.mark.parametrize("own", ["", " ", None, "draft", "accept", {"part": "x"}], ids=repr)
def test_the_last_message_is_the_reference_whatever_the_field_answer_says(own: Any) -> None:
    prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": "a?"}]
    turns = {"messages": [*prompt, {"role": "assistant", "content": "b"}]}
    rows: list[dict[str, Any]] = [
        {"item": {"answer": own, "kind": "a"}, **turns},
        {"item": {"answer": own}, "messages": prompt},
        turns,
    ]
    before = {"messages": {"system": "s", "user": "a?", "assistant": "", "tool": ""}}
    assert fields_of(rows, ["bolt", None, "nut"]) == [
        {"answer": "bolt", "kind": "a", **before},
        {"answer": own, **before},  # a prompt
        {"answer": "nut", **before},
    ]
    assert rows[0]["item"] == {"answer": own, "kind": "a"}


def test_a_slice_by_answer_is_by_the_field(
    bench: Callable[..., Any], tmp_path: Path, write_data: Any, resolved: Any, some_rows: list[Any]
) -> None:
    held_out = [{**row, "item": {"answer": "draft"}} for row in some_rows[:2]]
    settings = {"slices": ["answer"], "max_new_tokens": 2, **WITHOUT_SUITE}
    run = bench(
        tmp_path, data=write_data(tmp_path / "d", some_rows, held_out), recipe=resolved({"evaluation": settings})
    )
    assert run.evaluate("--candidate", str(run.base), output=tmp_path / "e") == 0
    rows = [json.loads(line) for line in (tmp_path / "e" / "rows.jsonl").read_text().splitlines()]
    assert [row["slices"] for row in rows] == [{"answer": "draft"}] * 2
    assert "draft" not in [row["reference"] for row in rows]


def test_kept_answers_are_not_generated_again_and_others_or_damaged_ones_are(
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
    damaged = tmp_path / "answers" / min(longer_ones.keys() - first.keys())
    whole = json.loads(damaged.read_bytes())
    damaged.write_bytes(damaged.read_bytes()[:20])
    assert run.evaluate("--candidate", str(merged), *kept, output=tmp_path / "four") == 0
    assert json.loads(damaged.read_bytes())["texts"] == whole["texts"]


def test_the_general_suite_is_asked_and_does_not_apply_to_a_base_that_knows_nothing(
    finished: Any, bench: Callable[..., Any], tmp_path: Path, resolved: Any
) -> None:
    from shared.domain.evaluation import gate_verdict

    recipe = resolved({"evaluation": {"max_new_tokens": 12}})
    run = bench(tmp_path, recipe=recipe)
    assert run.evaluate("--candidate", str(finished.output / "model" / "merged"), output=tmp_path / "e") == 0
    report = report_of(tmp_path / "e")
    assert report.general == ()
    assert report.general_lacking.keys() == {"ability", "refusal", "over_refusal"}
    checks = {check.name: check for check in gate_verdict(report, recipe.requested.evaluation).checks}
    assert checks["general:ability"].skipped
    assert checks["general:refusal"].skipped
    metrics = run.result(tmp_path / "e").metrics
    assert (metrics.last_step, metrics.total_steps) == ((6 + 112) + 6,) * 2, (
        "what the base cannot do is asked of no other"
    )


@pytest.fixture(scope="session")
def other_end(finished: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained model as a base that ends documents with another token than its template ends turns with."""
    folder = tmp_path_factory.mktemp("end") / "model"
    shutil.copytree(finished.output / "model" / "merged", folder)
    for name, value in (("config", 0), ("generation_config", 0), ("tokenizer_config", "<|endoftext|>")):
        path = folder / f"{name}.json"
        settings = json.loads(path.read_text())
        path.write_text(json.dumps(settings | {"eos_token" if name == "tokenizer_config" else "eos_token_id": value}))
    return folder


def test_right_answers_score_as_right_where_turns_end_with_no_end_token_of_the_base(
    other_end: Path, bench: Callable[..., Any], tmp_path: Path, resolved: Any, write_data: Any, some_rows: list[Any]
) -> None:
    import torch

    from training_job.evaluation.answers import TextGenerator

    listed = tmp_path / "listed"  # the same, but its configuration lists both tokens
    shutil.copytree(other_end, listed)
    (listed / "generation_config.json").write_text('{"eos_token_id": [0, 2], "pad_token_id": 0}')
    generator = TextGenerator(listed, torch.float32, None, {})
    right = generator.answers(generator.questions(some_rows), 40, lambda _: None)
    ended = [n for n, tokens in enumerate(right.tokens) if tokens < 40]  # the others the base repeats to the limit
    assert len(ended) >= 4
    held_out = [
        {**some_rows[n], "messages": [some_rows[n]["messages"][0], {"role": "assistant", "content": right.texts[n]}]}
        for n in ended
    ]
    recipe = resolved({"evaluation": {"max_new_tokens": 40, **WITHOUT_SUITE}})
    run = bench(tmp_path, data=write_data(tmp_path / "d", some_rows, held_out), recipe=recipe)
    assert run.evaluate("--candidate", str(other_end), output=tmp_path / "e") == 0
    report = report_of(tmp_path / "e")
    assert (report.candidate.mean, report.answers_at_limit["candidate"]) == (1.0, 0.0)
    assert report.tokens_per_answer["candidate"] == pytest.approx(sum(right.tokens[n] for n in ended) / len(ended))


def test_answers_that_are_cut_are_counted(endless_base: Path, bench: Any, tmp_path: Path, resolved: Any) -> None:
    run = bench(tmp_path, recipe=resolved(RECIPE))
    assert run.evaluate("--candidate", str(endless_base), output=tmp_path / "e") == 0
    assert report_of(tmp_path / "e").answers_at_limit["candidate"] == 1.0


def test_training_and_evaluation_read_the_base_with_the_arguments_of_the_catalog(
    random_base: Path, bench: Callable[..., Any], tmp_path: Path, resolved: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training_job.data.chat_rows import bundle_of
    from training_job.job.runtime import RunningMetrics, read_recipe
    from training_job.model.quantized import load_tokenizer
    from training_job.train import TrainArguments, prepare

    arguments = {"enable_thinking": False}
    entry = find_entry("droptune/tiny-llama").model_copy(update={"template_arguments": arguments})
    monkeypatch.setitem(CATALOG, entry.id, entry)
    run = bench(tmp_path, recipe=resolved({"evaluation": {"max_new_tokens": 1, **WITHOUT_SUITE}}))
    task = TrainArguments(job_name="j", data=run.data, base_model=run.base, recipe=run.recipe, output=run.output)
    prepared = prepare(task, read_recipe(run.recipe), RunningMetrics())
    tuned = Path(shutil.copytree(random_base, tmp_path / "tuned"))
    prepared.setup.tokenizer.save_pretrained(tuned)
    expected = bundle_of(load_tokenizer(random_base, arguments)).template_sha256
    assert prepared.bundle.template_sha256 == expected != bundle_of(load_tokenizer(random_base)).template_sha256
    assert run.evaluate("--candidate", str(tuned), output=tmp_path / "e") == 0
    report = report_of(tmp_path / "e")
    assert report.template_sha256 == report.base_template_sha256 == expected


@pytest.mark.slow
def test_a_model_that_learned_its_canaries_by_heart_is_refused_and_its_base_is_not(
    bench: Callable[..., Any], tmp_path: Path, write_data: Any, some_rows: list[Any], resolved: Any
) -> None:
    """Really trained, on so few rows that none selects a checkpoint."""
    settings = {**RECIPE, "method": {"canaries": 2}}
    steps = {"n_epochs": 60, "total_steps": 120, "lora_rank": 16, "lora_alpha": 32, "quantization": "none"}
    recipe, data = resolved(settings, **steps), write_data(tmp_path / "d", some_rows[:4], some_rows[:4])
    run = bench(tmp_path, recipe=recipe, data=data, base=shipped_base())
    assert run.train() == 0
    assert (run.result().metrics.canaries, run.result().metrics.total_steps) == (2, 120)
    found = {}
    for name, folder in {"tuned": run.output / "model" / "merged", "base": run.base}.items():
        assert run.evaluate("--candidate", str(folder), output=tmp_path / name) == 0
        report = report_of(tmp_path / name)
        checks = {check.name: check for check in gate_verdict(report, recipe.requested.evaluation).checks}
        found[name] = (checks["canaries"].blocks, [one.verbatim for one in report.canaries])
        bits = [one.exposure for one in report.canaries]
        assert (min(bits) == 7.0) == (name == "tuned"), bits
    assert found == {"tuned": (True, [True, True]), "base": (False, [False, False])}
