"""A Droptune of one run, whose life is a list of states: each long poll moves it one state on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from shared.domain.dataset import DataQuality, DatasetRef, ProblemGroup, QuestionDistance, Report, Statistics
from shared.domain.errors import FailureClass, Problem
from shared.domain.evaluation import EvaluationResult, Gain, SampleAnswer, Score, SliceScore
from shared.domain.results import CostEstimate
from shared.domain.run import TERMINAL, Run, RunError, Status, Transition

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RUN_ID = "r-1"

RESULT = EvaluationResult(
    base=Score(mean=0.1, low=0.05, high=0.15, rows=120),
    candidate=Score(mean=0.9, low=0.85, high=0.95, rows=120),
    gains=(Gain(over="base", mean=0.8, low=0.7, high=0.9),),
    slices=(
        SliceScore(
            field="family",
            value="hex nut",
            rows=12,
            base=0.2,
            candidate=1.0,
            gain=Gain(over="base", mean=0.8, low=0.6, high=1.0),
        ),
    ),
    answers_differ=0.95,
    template_sha256="0" * 64,
    base_template_sha256="0" * 64,
)
SAMPLE = SampleAnswer(row=7, prompt="Expand HN.", reference="hex nut", base="HN HN", candidate="hex nut M3")
COST = CostEstimate(low_usd=0.01, high_usd=0.02, hourly_usd=6.98, low_hours=0.001, high_hours=0.003)
BROKEN = RunError(
    failure_class=FailureClass.QUOTA,
    problem=Problem(code="no_quota", message="no cores left", param="instance_type"),
)
REPORT = Report(
    passed=False,
    format="chat",
    problems=(
        ProblemGroup(
            code="empty_answer",
            severity="error",
            count=3,
            file="train",
            rows=(2, 5),
            parts=("messages[1].content", ""),
            message="the assistant says nothing",
            fix="fill the answers or delete the rows",
        ),
    ),
    statistics=Statistics(train_rows=10),
    quality=DataQuality(
        distance=QuestionDistance(
            train_questions=10, eval_questions=3, similarity=(0.5, 0.75, 0.9), known_words=0.667, recombined=0.333
        )
    ),
    eval_source="file",
    not_searched_for=("names of persons",),
)


def make_run(*statuses: Status, **changes: Any) -> Run:
    """A run that went through these statuses, one every two seconds."""
    history = tuple(
        Transition(status=status, at=START + timedelta(seconds=2 * i), event_id=f"e{i}", event_type="t")
        for i, status in enumerate(statuses)
    )
    run = Run(
        id=RUN_ID,
        project="plant",
        status=statuses[-1],
        revision=len(statuses),
        attempt=1,
        created_at=START,
        updated_at=history[-1].at,
        deadline_at=None if statuses[-1] in TERMINAL else START + timedelta(hours=1),
        dataset=DatasetRef(path="datasets/plant/train.jsonl", etag="1", size_bytes=1234, sha256="ab"),
        fingerprint="f",
        history=history,
    )
    return run.evolve(**changes)


def life(*statuses: Status, **changes: Any) -> list[Run]:
    """One state per status; the changes hold for the last."""
    states = [make_run(*statuses[: i + 1]) for i in range(len(statuses) - 1)]
    return [*states, make_run(*statuses, **changes)]


@dataclass
class FakeDroptune:
    """What the API answers, and what it was asked for."""

    states: list[Run] = field(default_factory=list)
    dropped: dict[str, bytes] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    commands: list[tuple[str, Any]] = field(default_factory=list)
    refusal: tuple[int, str] | None = None
    endpoints: list[dict[str, Any]] = field(default_factory=list)
    costs: list[dict[str, Any]] = field(default_factory=list)
    dead: list[dict[str, Any]] = field(default_factory=list)
    unreadable: list[dict[str, Any]] = field(default_factory=list)
    released: str | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)

    @property
    def run(self) -> Run | None:
        return self.states[0] if self.states else None

    def get_run(self, run_id: str, if_none_match: str | None) -> Response:
        run = self.run
        if run is None or run.id != run_id:
            problem = {"code": "run_not_found", "message": f"no run {run_id}", "param": "run_id"}
            return JSONResponse({"error": problem}, 404)
        if if_none_match == f'"{run.revision}"':
            if len(self.states) == 1:
                return Response(status_code=304)
            self.states.pop(0)
            run = self.states[0]
        body = {**run.model_dump(mode="json"), "a_field_of_a_newer_server": 1}
        body["dataset"]["another"] = [2]
        return JSONResponse(body, headers={"ETag": f'"{run.revision}"'})

    def record_command(self, command: str, body: Any, answer: dict[str, Any]) -> Response:
        """Note an order, and answer it or refuse it as the test wants."""
        self.commands.append((command, body))
        if self.refusal is None:
            return JSONResponse(answer, 202)
        status, code = self.refusal
        return JSONResponse({"error": {"code": code, "message": "so it is", "param": RUN_ID}}, status)


def make_app(fake: FakeDroptune) -> FastAPI:
    app = FastAPI(openapi_url="/api/openapi.json")

    @app.get("/api/health")
    def health() -> dict[str, str]:
        return {"status": "ok", "version": "0.1.0"}

    @app.get("/api/runs")
    def runs(project: str | None = None) -> dict[str, Any]:
        run = fake.run
        matching = [run] if run and project in (None, run.project) else []
        data = [each.model_dump(mode="json") for each in matching]
        return {"data": data, "unreadable": fake.unreadable, "next": None}

    @app.get("/api/runs/{run_id}")
    def run(run_id: str, request: Request) -> Response:
        return fake.get_run(run_id, request.headers.get("if-none-match"))

    @app.get("/api/runs/{run_id}/metrics")
    def metrics(run_id: str) -> dict[str, Any]:
        series = {"train_loss": [[1, 4.0], [2, 3.0], [3, 1.0]]}
        return {"job": None, "series": series, "progress": {"step": 3, "total_steps": 9, "eta_s": 6.0}}

    @app.get("/api/runs/{run_id}/report")
    def report(run_id: str) -> Report:
        return REPORT

    @app.get("/api/runs/{run_id}/evaluation")
    def evaluation(run_id: str) -> dict[str, Any]:
        return {"result": RESULT.model_dump(), "verdict": None, "samples": [SAMPLE.model_dump()]}

    @app.post("/api/runs/{run_id}/cancel")
    def cancel(run_id: str) -> dict[str, str]:
        fake.cancelled.append(run_id)
        return {}

    @app.post("/api/runs/{run_id}/{command}")
    async def command(run_id: str, command: str, request: Request) -> Response:
        body = await request.body()
        child = {"id": "r-2" if command == "retry" else run_id, "missing": 0}
        return fake.record_command(f"{command} {run_id}", json.loads(body) if body else None, child)

    @app.get("/api/endpoints")
    def endpoints() -> dict[str, Any]:
        return {"data": fake.endpoints, "costs": fake.costs, "unreadable": fake.unreadable}

    @app.get("/api/endpoints/{name}")
    def endpoint(name: str) -> dict[str, Any]:
        return next(one for one in fake.endpoints if one["endpoint"] == name)

    @app.post("/api/endpoints/{name}/rollback")
    async def rollback(name: str, request: Request) -> Response:
        body = await request.json()
        return fake.record_command(f"rollback {name}", body, {"endpoint": name, "from": "d-new", "to": "d-old"})

    @app.post("/api/endpoints/{name}/restore")
    async def restore(name: str, request: Request) -> Response:
        return fake.record_command(f"restore {name}", await request.json(), {"id": RUN_ID})

    @app.delete("/api/endpoints/{name}")
    async def delete(name: str, request: Request) -> Response:
        return fake.record_command(f"delete {name}", await request.json(), {"id": RUN_ID})

    @app.get("/api/doctor")
    def doctor() -> Response:
        if fake.refusal:
            status, code = fake.refusal
            return JSONResponse({"error": {"code": code, "message": "so it is", "param": None}}, status)
        return JSONResponse({"data": fake.checks})

    @app.get("/api/dead-letters")
    def dead_letters() -> dict[str, Any]:
        return {"data": fake.dead, "unreadable": fake.unreadable}

    @app.post("/api/dead-letters/release")
    async def release(request: Request) -> Response:
        return fake.record_command(
            "release", await request.json(), {"path": "quarantine/document-1.json", "run": fake.released}
        )

    @app.post("/api/dead-letters/replay")
    async def replay(request: Request) -> Response:
        body = await request.json()
        return fake.record_command("replay", body, {"entity": body["entity"], "replayed": 3})

    @app.put("/api/datasets/{project}/{name}")
    async def put(project: str, name: str, request: Request) -> dict[str, object]:
        fake.dropped[f"{project}/{name}"] = await request.body()
        if name.startswith("train"):
            fake.states = life(Status.RECEIVED, Status.REJECTED)
        return {"path": f"datasets/{project}/{name}", "etag": "e", "size_bytes": 1, "run_id": None}

    return app
