"""The machine-learning platform as its documentation has it: jobs, endpoints and deployments that take their time.

What happens to a job or a deployment is decided by the seed and its name, so a failing seed can be run again.
"""

from __future__ import annotations

import random
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from shared.domain import paths
from shared.domain.catalog import SKUS
from shared.domain.dataset import CuratedVersion
from shared.domain.errors import FailureClass, PermanentFailure, Problem, Transient
from shared.domain.evaluation import EvaluationResult, Gain, GradedRow, Score
from shared.domain.jobs import (
    ChatAnswer,
    CoreQuota,
    DeploymentSpec,
    DeploymentState,
    DeploymentView,
    EndpointView,
    JobSpec,
    JobStatus,
    JobView,
    MachineSize,
    MetricPoint,
    ModelSpec,
    RequestStats,
)
from shared.domain.prompts import Prompt
from shared.domain.results import JobMetrics, JobResult
from shared.domain.run import Run
from shared.ports import BlobStore, Clock, Message
from tests.azure_events import job_changed
from training_job.validate import parse, validate_files

BASE_QUALITY = 0.3


@dataclass(frozen=True)
class FaultRates:
    """How often the platform does each unpleasant thing, from 0 to 1."""

    job_fails: float = 0.0
    refuses: float = 0.0
    loses_event: float = 0.0
    repeats_event: float = 0.0
    deployment_fails: float = 0.0
    deployment_answers_badly: float = 0.0
    deployment_is_silent: float = 0.0


NO_FAULTS = FaultRates()
FREQUENT_FAULTS = FaultRates(0.2, 0.1, 0.3, 0.2, 0.1, 0.1, 0.15)


@dataclass
class Job:
    spec: JobSpec
    starts_at: datetime
    ends_at: datetime
    outcome: str
    final: JobStatus | None = None
    stops_at: datetime | None = None

    @property
    def run_id(self) -> str:
        return self.spec.tags["droptune_run"]

    @property
    def stage(self) -> str:
        return self.spec.name.rsplit("-", 2)[1]


@dataclass
class Deployment:
    spec: DeploymentSpec
    ready_at: datetime
    outcome: str
    gone_at: datetime | None = None
    silent_until: datetime | None = None


@dataclass
class Endpoint:
    ready_at: datetime
    traffic: dict[str, int] = field(default_factory=dict)
    requested: dict[str, int] | None = None
    applies_at: datetime | None = None
    deployments: dict[str, Deployment] = field(default_factory=dict)
    gone_at: datetime | None = None


def _work(spec: JobSpec) -> object:
    """What hosts of two versions must agree on."""
    return spec.inputs, spec.outputs, spec.tags["droptune_run"]


class Platform:
    """JobLauncher and ModelHost. `find_run` reads a run, `emit` sends to the queue of job events."""

    def __init__(
        self,
        clock: Clock,
        seed: str,
        blobs: BlobStore,
        root: Path,
        find_run: Callable[[str], Run],
        emit: Callable[[Message], None],
    ) -> None:
        self.clock, self.seed, self.blobs, self.root = clock, seed, blobs, root
        self.find_run, self.emit = find_run, emit
        self.fault_rates = NO_FAULTS
        self.jobs: dict[str, Job] = {}
        self.models: dict[str, ModelSpec] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.created: list[str] = []
        self.autoscaled: set[tuple[str, str]] = set()
        self.machines_after_s: float | None = None  # of jobs, endpoints and deployments; None: by the seed
        self.no_machine = 0  # so many of the next deployments are accepted, and fail with this code
        self.no_machine_code = "azure_ml_quota"
        self.broken: list[str] = []
        self._answers: dict[tuple[str, bytes], str] = {}
        self._refusals = 0
        self.metrics_fail = False
        self.requests: dict[tuple[str, str], list[datetime]] = {}
        self.latency_s: dict[str, float] = {}  # of the answers of a deployment

    def advance(self) -> None:
        """Do what is due by now."""
        now = self.clock.now()
        for job in self.jobs.values():
            if job.final is None and job.stops_at is not None and now >= job.stops_at:
                self._end(job, JobStatus.CANCELLED)
            elif job.final is None and now >= job.ends_at:
                self._finish(job)
        for name, endpoint in list(self.endpoints.items()):
            if endpoint.gone_at is not None and now >= endpoint.gone_at:
                del self.endpoints[name]
                continue
            if endpoint.requested is not None and endpoint.applies_at is not None and now >= endpoint.applies_at:
                endpoint.traffic, endpoint.requested = endpoint.requested, None
            for key, deployment in list(endpoint.deployments.items()):
                if deployment.gone_at is not None and now >= deployment.gone_at:
                    del endpoint.deployments[key]
            self._check(name, endpoint)

    @property
    def live_jobs(self) -> list[str]:
        return sorted(name for name, job in self.jobs.items() if job.final is None and job.outcome != "vanishes")

    def next_due(self) -> datetime | None:
        """When the next thing happens here; None if nothing is under way."""
        jobs = [job.stops_at or job.ends_at for job in self.jobs.values() if job.final is None]
        changes = [endpoint.applies_at for endpoint in self.endpoints.values() if endpoint.requested is not None]
        ready = [endpoint.gone_at or endpoint.ready_at for endpoint in self.endpoints.values()]
        ready += [d.gone_at or d.ready_at for e in self.endpoints.values() for d in e.deployments.values()]
        now = self.clock.now()
        return min((due for due in (*jobs, *changes, *ready) if due is not None and due > now), default=None)

    # JobLauncher

    def submit(self, spec: JobSpec) -> JobView:
        self.advance()
        if spec.name not in self.jobs:
            rng = self._rng(spec.name)
            self._refuse_by_chance(f"submit {spec.name}")
            starts = self.clock.now() + timedelta(seconds=self.machines_after_s or rng.choice((1, 10, 90)))
            ends = starts + timedelta(seconds=rng.choice((5, 60, 900)))
            self.jobs[spec.name] = Job(spec, starts, ends, self._outcome(rng))
        elif _work(self.jobs[spec.name].spec) != _work(spec):
            raise PermanentFailure(FailureClass.PLATFORM, "job_name_taken", f"job {spec.name} is another one")
        return self._view(self.jobs[spec.name])

    def get_job(self, name: str) -> JobView | None:
        self.advance()
        job = self.jobs.get(name)
        if job is None or (job.outcome == "vanishes" and self.clock.now() >= job.ends_at):
            return None
        return self._view(job)

    def begin_cancel(self, name: str) -> None:
        self.advance()
        job = self.jobs.get(name)
        if job is not None and job.final is None and job.stops_at is None:
            job.stops_at = self.clock.now() + timedelta(seconds=self._rng(f"cancel {name}").choice((1, 30)))

    def machine_sizes(self) -> list[MachineSize]:
        """Those of the catalog."""
        return [MachineSize(name=sku.name, family=sku.name, cores=8) for sku in SKUS]

    def core_quotas(self) -> list[CoreQuota]:
        """Enough for all."""
        return [CoreQuota(family=sku.name.lower(), spot=False, used=0, limit=1000) for sku in SKUS]

    def metric_history(self, job_name: str, key: str) -> list[MetricPoint]:
        return []

    # ModelHost

    def register_model(self, spec: ModelSpec) -> None:
        key = f"{spec.name}:{spec.version}"
        if self.models.setdefault(key, spec).uri != spec.uri:
            raise PermanentFailure(FailureClass.PLATFORM, "model_version_taken", key)

    def begin_endpoint(self, name: str, tags: dict[str, str]) -> bool:
        self.advance()
        if name not in self.endpoints:
            self.endpoints[name] = Endpoint(self.clock.now() + timedelta(seconds=self.machines_after_s or 40))
        return self.clock.now() >= self.endpoints[name].ready_at

    def get_endpoint(self, name: str) -> EndpointView | None:
        self.advance()
        found = self.endpoints.get(name)
        if found is None:
            return None
        traffic = {key: share for key, share in found.traffic.items() if share}
        return EndpointView(
            name=name,
            scoring_uri=f"https://{name}.example/score",
            traffic=traffic,
            deployments=tuple(sorted(found.deployments)),
        )

    def is_name_taken(self, endpoint: str) -> bool:
        return False

    def begin_deployment(self, spec: DeploymentSpec) -> None:
        endpoint = self._endpoint(spec.endpoint)
        known = endpoint.deployments.get(spec.name)
        if known is not None:
            if known.spec.model != spec.model:
                raise PermanentFailure(FailureClass.PLATFORM, "deployment_name_taken", spec.name)
            if known.gone_at is not None:
                raise Transient("azure_ml_busy", f"{spec.name} is being deleted: in progress")
            return
        if spec.model not in self.models:
            self.broken.append(f"{spec.name} is to serve {spec.model}, which is not registered")
        self._refuse_by_chance(f"deploy {spec.name}")
        rng = self._rng(spec.name)
        fault_rates, chance = self.fault_rates, rng.random()
        outcome = "serves"
        if chance < fault_rates.deployment_fails:
            outcome = "fails"
        elif chance < fault_rates.deployment_fails + fault_rates.deployment_answers_badly:
            outcome = "answers as base"
        if self.no_machine:
            self.no_machine, outcome = self.no_machine - 1, "no machine"
        ready = self.clock.now() + timedelta(seconds=self.machines_after_s or rng.choice((5, 120)))
        silent = (
            ready + timedelta(seconds=rng.choice((30, 300)))
            if rng.random() < fault_rates.deployment_is_silent
            else None
        )
        endpoint.deployments[spec.name] = Deployment(spec, ready, outcome, silent_until=silent)
        self.created.append(spec.name)

    def get_deployment(self, endpoint: str, name: str) -> DeploymentView | None:
        self.advance()
        found = self.endpoints[endpoint].deployments.get(name) if endpoint in self.endpoints else None
        if found is None:
            return None
        if self.clock.now() < found.ready_at or found.gone_at is not None:
            return DeploymentView(name=name, state=DeploymentState.CREATING)
        if found.outcome == "fails":
            return DeploymentView(name=name, state=DeploymentState.FAILED, error_code="ResourceNotReady")
        if found.outcome == "no machine":
            return DeploymentView(name=name, state=DeploymentState.FAILED, error_code=self.no_machine_code)
        return DeploymentView(name=name, state=DeploymentState.SUCCEEDED)

    def begin_traffic(self, endpoint: str, traffic: dict[str, int]) -> None:
        found = self._endpoint(endpoint)
        if found.requested is not None:
            raise Transient("azure_ml_busy", f"a change of {endpoint} is in progress")
        unknown = [name for name in traffic if name not in found.deployments or found.deployments[name].gone_at]
        if unknown or sum(traffic.values()) not in (0, 100):
            raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_refused", f"{traffic} names {unknown}")
        delay = self._rng(f"traffic {endpoint} {self.clock.now()}").choice((0, 4, 45))
        found.requested, found.applies_at = dict(traffic), self.clock.now() + timedelta(seconds=delay)
        self.advance()

    def begin_delete_deployment(self, endpoint: str, name: str) -> None:
        self.advance()
        found = self.endpoints.get(endpoint)
        deployment = found.deployments.get(name) if found else None
        if found is None or deployment is None or deployment.gone_at is not None:
            return
        if found.requested is not None:
            raise Transient("azure_ml_busy", f"a change of {endpoint} is in progress")
        if found.traffic.get(name):
            raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_refused", f"{name} carries traffic")
        deployment.gone_at = self.clock.now() + timedelta(seconds=self._rng(f"delete {name}").choice((0, 20)))
        self.advance()

    def set_autoscale(self, spec: DeploymentSpec) -> None:
        found = self._endpoint(spec.endpoint).deployments.get(spec.name)
        if found is None or self.clock.now() < found.ready_at:
            raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_not_found", spec.name)
        self.autoscaled.add((spec.endpoint, spec.name))

    def delete_autoscale(self, endpoint: str, name: str) -> None:
        """Azure keeps it when the deployment is deleted."""
        self.autoscaled.discard((endpoint, name))

    def begin_delete_endpoint(self, name: str) -> None:
        self.advance()
        found = self.endpoints.get(name)
        if found is not None and found.requested is not None:
            raise Transient("azure_ml_busy", f"a change of {name} is in progress")
        if found is not None and found.gone_at is None:
            found.gone_at = self.clock.now() + timedelta(seconds=self._rng(f"delete {name}").choice((0, 20)))

    def had_requests(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> bool | None:
        """What clients sent: `ask`. A minute is known once it is over."""
        if self.metrics_fail:
            return None
        known = until.replace(second=0, microsecond=0)
        used = self.requests.get((endpoint, deployment), [])
        return any(since.replace(second=0, microsecond=0) <= at < known for at in used)

    def request_stats(self, endpoint: str, deployment: str, since: datetime, until: datetime) -> RequestStats:
        """Those of clients, of which none failed, and our own."""
        assert since < until
        used = self.requests.get((endpoint, deployment), [])
        return RequestStats(requests=sum(since <= at < until for at in used), failed=0)

    def ask(self, endpoint: str) -> str:
        """A client's request. The deployment that answers it."""
        self.advance()
        found = self.endpoints[endpoint]
        name = max(found.traffic, key=lambda name: found.traffic[name])
        assert found.deployments[name].gone_at is None, "requests are sent to a deployment that is deleted"
        self.requests.setdefault((endpoint, name), []).append(self.clock.now())
        return name

    def chat(
        self,
        endpoint: str,
        prompt: Prompt,
        *,
        deployment: str | None = None,
        max_tokens: int = 256,
        timeout_s: float = 30.0,
    ) -> ChatAnswer:
        assert deployment is not None
        found = self._endpoint(endpoint).deployments[deployment]
        if found.silent_until is not None and self.clock.now() < found.silent_until:
            raise Transient("endpoint_busy", "503")
        run_id = "base" if found.outcome == "answers as base" else found.spec.tags["droptune_run"]
        text = self._answers[run_id, orjson.dumps(prompt.messages)]
        self.requests.setdefault((endpoint, deployment), []).append(self.clock.now())
        return ChatAnswer(text=text, deployment=deployment, latency_s=self.latency_s.get(deployment, 0.1))

    # Inside

    def _rng(self, name: str) -> random.Random:
        return random.Random(f"{self.seed} {name}")

    def _endpoint(self, name: str) -> Endpoint:
        self.advance()
        if name not in self.endpoints:
            raise PermanentFailure(FailureClass.PLATFORM, "azure_ml_not_found", f"endpoint {name} does not exist")
        if self.endpoints[name].gone_at is not None:
            raise Transient("azure_ml_busy", f"{name} is being deleted: in progress")
        if self.clock.now() < self.endpoints[name].ready_at:
            raise Transient("azure_ml_busy", f"the creation of {name} is in progress")
        return self.endpoints[name]

    def _refuse_by_chance(self, what: str) -> None:
        self._refusals += 1
        rng = self._rng(f"{what} {self._refusals}")
        if rng.random() < self.fault_rates.refuses:
            refused = rng.choice((FailureClass.QUOTA, FailureClass.CAPACITY, FailureClass.PLATFORM))
            raise PermanentFailure(refused, f"azure_ml_{refused}", f"{what}: no {refused}")

    def _outcome(self, rng: random.Random) -> str:
        if rng.random() >= self.fault_rates.job_fails:
            return "completes"
        return rng.choice(
            ("capacity", "platform", "code", "says data", "vanishes", "cancelled by others", "no result", "timeout")
        )

    def _view(self, job: Job) -> JobView:
        if job.final is None:
            status = JobStatus.RUNNING if self.clock.now() >= job.starts_at else JobStatus.QUEUED
            return JobView(name=job.spec.name, status=JobStatus.CANCELLING if job.stops_at else status)
        if job.final is JobStatus.FAILED and job.outcome in ("capacity", "platform", "code"):
            known = FailureClass(job.outcome)
            return JobView(name=job.spec.name, status=job.final, error_code=f"Sim{job.outcome}", failure_class=known)
        if job.outcome == "timeout" and job.final is JobStatus.CANCELLED and job.stops_at is None:
            return JobView(name=job.spec.name, status=job.final, error_code="JobExceededTimeout")
        return JobView(name=job.spec.name, status=job.final)

    def _finish(self, job: Job) -> None:
        match job.outcome:
            case "completes":
                self._write(job)
                self._end(job, JobStatus.COMPLETED)
            case "no result":
                self._end(job, JobStatus.COMPLETED)
            case "says data":
                problem = Problem(code="no_trainable_tokens", message="every token is masked")
                self._write_result(job, "failed", failure_class=FailureClass.DATA, problem=problem)
                self._end(job, JobStatus.FAILED)
            case "cancelled by others" | "timeout":
                self._end(job, JobStatus.CANCELLED)
            case "vanishes":
                pass
            case _:
                self._end(job, JobStatus.FAILED)

    def _end(self, job: Job, status: JobStatus) -> None:
        job.final = status
        rng = self._rng(f"event {job.spec.name}")
        if rng.random() >= self.fault_rates.loses_event:
            for copy in range(2 if rng.random() < self.fault_rates.repeats_event else 1):
                self.emit(job_changed(job.spec.name, f"event{copy}"))

    def _write(self, job: Job) -> None:
        match job.stage:
            case "validation":
                self._validate(job)
            case "evaluation":
                self._evaluate(job)
        metrics = JobMetrics(processed_tokens=1000, last_step=10, total_steps=10, train_loss=0.5, seconds=60.0)
        self._write_result(job, "completed", metrics=metrics)

    def _write_result(self, job: Job, status: Any, **more: Any) -> None:
        folder = {"training": "result.json"}.get(job.stage, f"{job.stage}/result.json")
        result = JobResult(job=job.spec.name, status=status, finished_at=self.clock.now(), **more)
        self.blobs.write(paths.run(job.run_id, folder), [result.model_dump_json().encode()])

    def _validate(self, job: Job) -> None:
        run = self.find_run(job.run_id)
        folder = self.root / paths.run(run.id, "validation")
        folder.mkdir(parents=True, exist_ok=True)
        (self.root / "curated" / run.project).mkdir(parents=True, exist_ok=True)
        command = job.spec.command.replace("${{outputs.curated}}", str(self.root / "curated" / run.project))
        command = command.replace("${{outputs.run}}", str(folder))
        for name, uri in job.spec.inputs.items():
            command = command.replace(f"${{{{inputs.{name}}}}}", str(self._path(uri)))
        validate_files(parse(shlex.split(command)[3:]))

    def _path(self, uri: str) -> Path:
        container, _, name = uri.removeprefix("azureml://datastores/").partition("/paths/")
        return self.root / container / name

    def _evaluate(self, job: Job) -> None:
        run = self.find_run(job.run_id)
        assert run.curated is not None
        baseline = job.spec.inputs.get("champion")
        qualities = {"base": BASE_QUALITY, "candidate": quality(run)}
        if baseline is not None:
            qualities["champion"] = quality(self.find_run(baseline.split("/")[-3]))
        scores = {name: Score(mean=q, low=q - 0.01, high=q + 0.01, rows=6) for name, q in qualities.items()}
        gains = tuple(
            Gain(over=over, mean=gain, low=gain - 0.01, high=gain + 0.01)
            for over in ("base", "champion")
            if over in qualities
            for gain in [qualities["candidate"] - qualities[over]]
        )
        template = "0" * 64
        report = EvaluationResult(
            **scores, gains=gains, answers_differ=1.0, template_sha256=template, base_template_sha256=template
        )
        self.blobs.write(paths.run(run.id, "evaluation/report.json"), [report.model_dump_json().encode()])
        self.blobs.write(paths.run(run.id, "evaluation/rows.jsonl"), self._rows(run, run.curated))

    def _rows(self, run: Run, version: CuratedVersion) -> list[bytes]:
        lines = b"".join(self.blobs.read(paths.curated(version, "eval.jsonl"))).split(b"\n")[:-1]
        rows = []
        for number, line in enumerate(lines, 1):
            prompt = orjson.dumps(orjson.loads(line)["messages"][:-1])
            answers = {"candidate": f"{run.id} says {number}", "base": f"base says {number}"}
            self._answers[run.id, prompt] = answers["candidate"]
            self._answers["base", prompt] = answers["base"]
            row = GradedRow(row=number, scores={"candidate": 1.0, "base": 0.0}, answers=answers)
            rows.append(row.model_dump_json().encode() + b"\n")
        return rows

    def _check(self, name: str, endpoint: Endpoint) -> None:
        if sum(endpoint.traffic.values()) not in (0, 100):
            self.broken.append(f"the traffic of {name} is {endpoint.traffic}")
        missing = endpoint.traffic.keys() - endpoint.deployments.keys()
        if missing:
            self.broken.append(f"the traffic of {name} goes to the deleted {sorted(missing)}")


def quality(run: Run) -> float:
    """What an evaluation will find: a file is called `train-<percent>-...`."""
    return int(run.dataset.path.rsplit("/", 1)[-1].split("-")[1]) / 100
