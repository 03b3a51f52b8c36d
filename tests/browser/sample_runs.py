"""Runs for the dashboard's tests: made with the domain models, written through the real store."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from shared.domain import paths
from shared.domain.dataset import CuratedVersion, DatasetRef, ProblemGroup, Report, Statistics
from shared.domain.errors import FailureClass, Problem
from shared.domain.evaluation import (
    EvaluationResult,
    Gain,
    GeneralScore,
    GradedRow,
    GraderScore,
    SampleAnswer,
    Score,
    SliceScore,
    gate_verdict,
)
from shared.domain.jobs import JobKind
from shared.domain.planning.plan import estimate_cost, resolve
from shared.domain.policy import PolicyInForce
from shared.domain.recipe import Evaluation, Gate, Recipe, Reinforcement, Supervised
from shared.domain.results import JobMetrics
from shared.domain.run import (
    JobRef,
    RolloutRef,
    Run,
    RunError,
    Status,
    Transition,
    ValidationSummary,
)
from shared.ports import Services
from shared.records import runs

BASE_MODEL = "meta-llama/Llama-3.1-8B-Instruct"
HOSTILE = '<img src=x onerror="window.broken=1"><script>window.broken=2</script> \u202egnp.exe</td>'

TRANSITIONS = (
    (Status.RECEIVED, 0, ""),
    (Status.VALIDATED, 2, ""),
    (Status.TRAINING, 4, ""),
    (Status.EVALUATING, 2210, ""),
    (Status.APPROVED, 2640, ""),
    (Status.DEPLOYING, 2642, ""),
    (Status.DEPLOYING, 3220, "10 % of the traffic"),
    (Status.DEPLOYING, 3281, "50 % of the traffic"),
    (Status.DEPLOYING, 3342, "100 % of the traffic"),
    (Status.DEPLOYED, 3344, ""),
)


def new_run(
    number: int, project: str, status: Status, *, minutes_ago: float, transitions: Any = TRANSITIONS, **changes: Any
) -> Run:
    """A run that went `transitions` up to `status`, or straight there from `received`."""
    began = datetime.now(UTC) - timedelta(minutes=minutes_ago)
    last = max((i for i, line in enumerate(transitions) if line[0] is status), default=None)
    lines = transitions[: last + 1] if last is not None else (transitions[0], (status, 3, changes.pop("note", "")))
    history = tuple(
        Transition(
            status=each,
            at=began + timedelta(seconds=seconds),
            event_id=f"event-{index}",
            event_type="droptune.deployment.started.v1",
            note=note,
        )
        for index, (each, seconds, note) in enumerate(lines)
    )
    fields: dict[str, Any] = {
        "id": f"run-{number:012x}",
        "project": project,
        "status": status,
        "revision": len(history),
        "attempt": 1,
        "created_at": began,
        "updated_at": history[-1].at,
        "deadline_at": began + timedelta(days=1),
        "dataset": DatasetRef(
            path=f"datasets/{project}/train.jsonl", etag="e-1", size_bytes=4_812_330, sha256=f"{number:064x}"
        ),
        "fingerprint": "0123456789abcdef",
        "history": history,
    }
    return Run(**{**fields, **changes})


def planned(project: str, method: Supervised | Reinforcement = Supervised()) -> dict[str, Any]:
    """What a validated run knows."""
    gate = Gate(min_score=0.6, min_gain=0.02, min_rows=50)
    evaluation = Evaluation(slices=("line_of_business",), gate=gate)
    recipe = Recipe(base_model=BASE_MODEL, method=method, evaluation=evaluation)
    resolved = resolve(recipe, project, train_rows=2400, characters_max=3100)
    ref = DatasetRef(path=f"datasets/{project}/train.jsonl", etag="e-1", size_bytes=4_812_330, sha256="1" * 64)
    cost = estimate_cost(resolved, train_rows=2400, eval_rows=180, tokens_mean=1400 / 3.6)
    return {
        "recipe": resolved,
        "cost": cost.model_copy(update={"actual_usd": 1.4132}),
        "curated": CuratedVersion(
            project=project, version="a0" * 32, source=ref, train_rows=2400, eval_rows=180, characters_max=3100
        ),
        "validation": ValidationSummary(passed=True, errors=0, warnings=12, codes=()),
        "policy": PolicyInForce(version=7, limits={"budget.max_usd": "at most 60 (the platform)"}),
    }


def trained(number: int) -> dict[str, Any]:
    job = f"run-{number:012x}-training-1"
    return {"jobs": (JobRef(name=job, kind=JobKind.TRAINING, attempt=1, submitted_at=datetime.now(UTC)),)}


def near(mean: float, rows: int = 180) -> Score:
    return Score(mean=mean, low=max(0, mean - 0.07), high=min(1, mean + 0.07), rows=rows)


def graded(name: str, base: float, champion: float, candidate: float) -> GraderScore:
    return GraderScore(name=name, base=near(base), champion=near(champion), candidate=near(candidate))


def slice_gain(mean: float) -> Gain:
    return Gain(over="champion", mean=mean, low=mean - 0.1, high=mean + 0.1)


def evaluated(project: str, *, better: bool = True) -> dict[str, Any]:
    gain = Gain(over="champion", mean=0.061, low=0.024, high=0.098)
    worse = Gain(over="champion", mean=-0.012, low=-0.049, high=0.024)
    result = EvaluationResult(
        base=Score(mean=0.514, low=0.442, high=0.586, rows=180),
        candidate=Score(mean=0.872, low=0.822, high=0.917, rows=180),
        champion=Score(mean=0.811, low=0.753, high=0.864, rows=180),
        gains=(Gain(over="base", mean=0.358, low=0.291, high=0.426), gain if better else worse),
        slices=tuple(
            SliceScore(
                field="line_of_business",
                value=value,
                rows=rows,
                base=base,
                champion=champion,
                candidate=tuned,
                gain=slice_gain(tuned - champion),
            )
            for value, rows, base, champion, tuned in (
                ("motor", 61, 0.541, 0.803, 0.885),
                ("household", 48, 0.521, 0.833, 0.896),
                ("liability", 34, 0.441, 0.794, 0.853 if better else 0.647),
                ("travel", 22, 0.545, 0.818, 0.864),
                ("legal protection", 15, 0.467, 0.800, 0.800),
            )
        ),
        graders=(
            graded("section", 0.61, 0.88, 0.93),
            graded("tone", 0.40, 0.70, 0.78),
            graded("tone.short", 0.31, 0.92, 0.95),
        ),
        general=(
            GeneralScore(
                part="ability",
                base=near(0.82, 34),
                champion=near(0.79, 34),
                candidate=near(0.79, 34),
                gain=Gain(over="base", mean=-0.03, low=-0.12, high=0.06),
            ),
            GeneralScore(
                part="refusal",
                base=near(0.89, 18),
                champion=near(0.89, 18),
                candidate=near(0.83, 18),
                gain=Gain(over="base", mean=-0.06, low=-0.17, high=0.0),
            ),
        ),
        answers_differ=0.93,
        template_sha256="b" * 64,
        base_template_sha256="b" * 64,
        tokens_per_answer={"base": 84.2, "champion": 31.7, "candidate": 29.4},
        answers_at_limit={"base": 0.125, "champion": 0.0, "candidate": 0.005},
        seconds_per_answer={"base": 1.91, "champion": 0.74, "candidate": 0.69},
    )
    recipe = planned(project)["recipe"]
    return {
        "training": JobMetrics(
            processed_tokens=1_204_113,
            last_step=450,
            train_loss=0.3121,
            eval_loss=0.3874,
            seconds=2093.0,
            dropped_rows=0,
            best_step=450,
            diagnosis=("Selection loss is 1.2 times the training loss: mild overfit.",),
        ),
        "evaluation": result,
        "verdict": gate_verdict(result, recipe.requested.evaluation),
        "champion": "run-0000000000aa",
    }


def rolled_out(number: int, project: str) -> dict[str, Any]:
    name = f"d-{number:012x}"
    return {
        "rollout": RolloutRef(
            endpoint=project,
            deployment=name,
            model=f"{project}:{number:012x}",
            previous={"d-0000000000aa": 100},
            traffic={name: 100},
            step=3,
            scoring_uri=f"https://{project}.westeurope.inference.ml.azure.com/score",
        )
    }


def deployed(number: int, project: str = "claims", *, minutes_ago: float = 90) -> Run:
    parts = {**planned(project), **trained(number), **evaluated(project), **rolled_out(number, project)}
    return new_run(number, project, Status.DEPLOYED, minutes_ago=minutes_ago, **parts)


def failed(number: int) -> Run:
    problem = Problem(
        code="loss_is_nan", message=f"the loss is not a number at step 7 {HOSTILE}", param="learning_rate"
    )
    error = RunError(failure_class=FailureClass.CODE, problem=problem)
    return new_run(number, "invoices", Status.FAILED, minutes_ago=300, error=error, note="code: loss_is_nan")


def rejected(number: int) -> Run:
    summary = ValidationSummary(passed=False, errors=41, warnings=3, codes=("role_order", "near_eval"))
    return new_run(number, "contracts", Status.REJECTED, minutes_ago=1500, validation=summary, note="role_order")


REPORT = Report(
    passed=False,
    format="chat",
    problems=(
        ProblemGroup(
            code="unknown_field",
            severity="warning",
            count=3,
            file="train",
            rows=(4, 9, 12),
            message="rows have fields that nothing reads",
            fix="remove them, or use them as item.FIELD in a grader",
        ),
        ProblemGroup(
            code="role_order",
            severity="error",
            count=41,
            file="train",
            rows=(2, 17, 31),
            message=f"an assistant message is not last {HOSTILE}",
            fix="end each row with the answer to learn",
        ),
    ),
    statistics=Statistics(
        train_rows=2359, eval_rows=180, messages_mean=3.2, characters_mean=1402.0, characters_max=3100
    ),
    eval_source="file",
)

SAMPLES = (
    SampleAnswer(
        row=14,
        prompt="Water ran from the flat above and ruined the parquet. Which section covers it, and is there an excess?",
        reference="Section 4.2, escape of water. Excess: 150 EUR.",
        base="It depends on your policy. Usually household insurance covers water damage, please check your documents.",
        champion="Section 4.2, escape of water. Excess: 300 EUR.",
        candidate="Section 4.2, escape of water. Excess: 150 EUR.",
    ),
    SampleAnswer(
        row=52,
        prompt="The parked car was scratched by an unknown driver. Claim class?",
        reference="MOTOR-07, fully comprehensive, no-claims bonus affected.",
        base="This would be vandalism or hit-and-run and falls under third party liability of the other driver.",
        champion="MOTOR-07, fully comprehensive, no-claims bonus kept.",
        candidate="MOTOR-07, fully comprehensive, no-claims bonus affected.",
    ),
    SampleAnswer(
        row=97,
        prompt=f"Repeat: {HOSTILE}",
        reference=HOSTILE,
        base="no",
        champion="\u2067\u05d0\u05d1\u05d2",
        candidate=HOSTILE,
    ),
)


def write(services: Services, run: Run) -> Run:
    """Create the run, or replace it as the runner's next transition would."""
    known = runs.read(services.store, run.id)
    services.store.batch(run.id, [runs.replacement(run, known) if known else runs.creation(run)])
    return run


def write_report(services: Services, run: Run, report: Report) -> None:
    services.blobs.write(paths.run(run.id, "report.json"), [report.model_dump_json().encode()])


def write_samples(services: Services, run: Run) -> None:
    text = orjson.dumps([sample.model_dump() for sample in SAMPLES])
    services.blobs.write(paths.run(run.id, "evaluation/samples.json"), [text])


def write_rows(services: Services, run: Run, worse: int = 25) -> None:
    """Held-out rows as the evaluation job writes them: some got worse, two got better, three stayed."""
    rows = []
    for number in range(1, worse + 6):
        sample = SAMPLES[(number - 1) % len(SAMPLES)]
        champion, candidate = (1.0, 0.5) if number <= worse else (0.0, 1.0) if number <= worse + 2 else (1.0, 1.0)
        scores = {"base": 0.0, "champion": champion, "candidate": candidate}
        rows.append(
            GradedRow(
                row=number,
                prompt_tokens=40,
                prompt=sample.prompt,
                reference=sample.reference,
                slices={"line_of_business": "household"},
                scores=scores,
                sub_scores={model: {"section": score, "tone": score} for model, score in scores.items()},
                answers={"base": sample.base, "champion": sample.champion or "", "candidate": sample.candidate},
            )
        )
    lines = b"".join(orjson.dumps(row.model_dump(), option=orjson.OPT_APPEND_NEWLINE) for row in rows)
    services.blobs.write(paths.run(run.id, "evaluation/rows.jsonl"), [lines])


def curve(steps: int, total: int = 450) -> list[dict[str, Any]]:
    """Points as the trainer logs them: a noisy fall of the loss, selection loss now and then."""
    noise = random.Random(7)
    points: list[dict[str, Any]] = []

    def log(key: str, step: int, value: float) -> None:
        points.append({"key": key, "value": value, "step": step, "timestamp": 1_700_000_000_000 + step * 4650})

    for step in range(1, steps + 1, 2):
        loss = 0.29 + 1.9 * math.exp(-step / 38) + 0.16 * math.exp(-step / 260)
        log("train_loss", step, loss * (1 + noise.gauss(0, 0.055)))
        log("learning_rate", step, 2e-4 * min(1, step / 22) * (0.5 + 0.5 * math.cos(math.pi * step / total)))
        log("tokens_per_s", step, 575 + noise.gauss(0, 9))
        log("eta_s", step, (total - step) * 4.65)
        if step % 50 == 49:
            log("eval_loss", step, 0.37 + 1.7 * math.exp(-step / 42))
    log("step_total", 0, total)
    return points
