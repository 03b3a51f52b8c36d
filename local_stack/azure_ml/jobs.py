"""Command jobs: submitted, queued for a slot, run as a process group, ended."""

import os
import re
import shlex
import signal
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from local_stack.azure_ml import distributed, events, processes, strict
from local_stack.azure_ml.config import EmulatorConfig, Environment, system_data
from local_stack.azure_ml.mounts import Mounts
from local_stack.azure_ml.store import Document, Faults, WorkspaceStore
from local_stack.azure_ml.tokens import job_token, managed_identity
from local_stack.processes import free_port

FINAL = ("Completed", "Failed", "Canceled")
_PAGE = 1000  # points of a curve
_AFTER = "{}/&="  # opaque for callers, who have to quote it
_PLACEHOLDER = re.compile(r"\$\{\{\s*(inputs|outputs)\.([A-Za-z0-9_]+)\s*\}\}")


class JobsResource:
    """The jobs resource. Every change of status is one transaction with its event."""

    def __init__(self, config: EmulatorConfig, store: WorkspaceStore) -> None:
        self._config, self._store = config, store

    def put(self, workspace: str, name: str, body: Document) -> tuple[int, Document]:
        """Create once: the same body again is 200 and runs nothing, a changed immutable field is refused."""
        strict.check_name("job", name, strict.JOB_NAME)
        strict.check_keys("job", body)
        properties = body.get("properties") or {}
        with self._store.transaction():
            job = self._store.get("job", name)
            if job is None:
                self._check(properties)
                job = {
                    "name": name,
                    "workspace": workspace,
                    "properties": {"experimentName": "Default", **properties},
                    "created": events.now_iso(),
                    "attempt": 1,
                    "error": None,
                    "history": [],
                }
                move(self._store, job, "NotStarted")
                return 201, self.view(job)
            if field := strict.changed_field(job["properties"], properties):
                raise strict.user_error(
                    f"job '{name}' exists and its field '{field}' is immutable; only"
                    f" {', '.join(sorted(strict.MUTABLE_JOB_FIELDS))} may change"
                )
            job["properties"].update({k: v for k, v in properties.items() if k in strict.MUTABLE_JOB_FIELDS})
            self._store.put("job", name, job)
        return 200, self.view(job)

    def get(self, name: str) -> Document:
        return self._store.find("job", name, "UserError")

    def cancel(self, name: str) -> bool:
        """False if it had ended already, which is fine."""
        with self._store.transaction():
            job = self.get(name)
            if job["status"] in FINAL:
                return False
            if job["status"] != "CancelRequested":
                move(self._store, job, "CancelRequested")
            return True

    def view(self, job: Document) -> Document:
        """The job as Azure Resource Manager shows it, with the output every job has."""
        properties = dict(job["properties"])
        default = {
            "jobOutputType": "uri_folder",
            "mode": "ReadWriteMount",
            "uri": f"azureml://datastores/workspaceartifactstore/ExperimentRun/dcid.{job['name']}",
        }
        studio = f"https://ml.azure.com/runs/{job['name']}?wsid={job['workspace']}"
        services = {
            "Studio": {"jobServiceType": "Studio", "endpoint": studio},
            "Tracking": {"jobServiceType": "Tracking", "endpoint": f"{self._config.url}/mlflow"},
        }
        properties |= {
            "status": job["status"],
            "services": services,
            "outputs": {"default": default, **(properties.get("outputs") or {})},
        }
        return {
            "id": f"{job['workspace']}/jobs/{job['name']}",
            "name": job["name"],
            "type": "Microsoft.MachineLearningServices/workspaces/jobs",
            "properties": properties,
            "systemData": system_data(job["created"]),
        }

    def _check(self, properties: Document) -> None:
        if properties.get("jobType") != "Command":
            raise strict.user_error(f"only Command jobs are emulated, got {properties.get('jobType')!r}")
        if self._config.environment_of(properties.get("environmentId")) is None:
            raise strict.user_error(f"environment '{properties.get('environmentId')}' was not found")
        if properties.get("computeId") is None and not (properties.get("resources") or {}).get("instanceType"):
            raise strict.user_error("a job needs an instanceType or a compute")
        if (properties.get("identity") or {}).get("identityType", "Managed") == "Managed" and (
            properties.get("identity") is not None and not properties["identity"].get("clientId")
        ):
            raise strict.user_error("serverless compute takes a user-assigned identity only")
        distribution = properties.get("distribution")
        kind = (distribution or {}).get("distributionType")
        if distribution is not None and kind != "PyTorch":
            raise strict.user_error(f"only the PyTorch distribution is emulated, got {kind!r}")
        if distribution is None and ((properties.get("resources") or {}).get("instanceCount") or 1) > 1:
            raise strict.user_error("several instances are emulated with a PyTorch distribution only")
        for kind, name in _PLACEHOLDER.findall(properties.get("command") or ""):
            if name not in (properties.get(kind) or {}):
                raise strict.user_error(f"the command names {kind}.{name}, which the job does not have")
        for entry in _entries(properties):
            if entry.get("uri"):
                strict.local_path(entry["uri"], self._config.blob_root)
        for name, entry in (properties.get("outputs") or {}).items():
            if not entry.get("uri"):
                raise strict.user_error(f"output '{name}' has no uri; the emulator has no default place for it")
        timeout_of(properties)


def move(store: WorkspaceStore, job: Document, status: str, error: Document | None = None) -> None:
    """Change the status: document, history and event in one transaction."""
    job["status"] = status
    job["error"] = error or job["error"]
    job["history"].append({"status": status, "at": time.time(), "attempt": job["attempt"]})
    with store.transaction():
        store.put("job", job["name"], job)
        events.job_changed(store, job)


def timeout_of(properties: Document) -> float | None:
    """limits.timeout in seconds."""
    text = (properties.get("limits") or {}).get("timeout")
    return None if text is None else strict.seconds(text)


def _entries(properties: Document) -> list[Document]:
    return [*(properties.get("inputs") or {}).values(), *(properties.get("outputs") or {}).values()]


class JobRunner:
    """Moves jobs on, one state a tick; what it needs to know is in the store, so it may die at any time."""

    def __init__(self, config: EmulatorConfig, store: WorkspaceStore, faults: Faults, mounts: Mounts) -> None:
        self._config, self._store, self._faults, self._mounts = config, store, faults, mounts
        self._launched: set[Path] = set()
        self._saved: set[Path] = set()
        self._ended: set[str] = set()

    def tick(self) -> None:
        for job in self._open():
            problem = self._move_files(job)  # outside the transaction: it may take a while
            with self._store.transaction():
                current = self._store.get("job", job["name"])
                if current is None or current["status"] in FINAL:
                    continue
                if problem is None:
                    self._step(current)
                else:
                    move(self._store, current, "Failed", {"code": problem.code, "message": problem.message})

    def _open(self) -> list[Document]:
        """Jobs that have not ended, oldest first; those that have are never read again."""
        found = []
        for name in self._store.names("job"):
            if name in self._ended:
                continue
            job = self._store.get("job", name)
            if job is not None and job["status"] not in FINAL:
                found.append(job)
            else:
                self._ended.add(name)
        return found

    def stop(self) -> None:
        """End every process group; the jobs stay as they are and run again at the next start."""
        for job in self._open():
            processes.send_signal(self._claim(job), signal.SIGKILL)

    def _move_files(self, job: Document) -> strict.ArmError | None:
        """Inputs, and outputs of an earlier attempt, before the start; outputs while it runs and when it has ended.

        Returns why the job cannot start.
        """
        claim, place = self._claim(job), self._place(job)
        was_started = processes.leader(claim) is not None
        if job["status"] == "Preparing" and not was_started and claim not in self._launched:
            try:
                for entry in _entries(job["properties"]):
                    if entry.get("uri"):
                        self._mounts.fetch(entry["uri"], place)
            except strict.ArmError as error:
                return error
        elif job["status"] in ("Running", "CancelRequested", "Finalizing"):
            ended = processes.exit_code(claim) is not None or not processes.members(claim)
            for entry in (job["properties"].get("outputs") or {}).values() if was_started else ():
                self._mounts.push(entry["uri"], place, all=ended)
            if ended:
                self._saved.add(claim)
        return None

    def _step(self, job: Document) -> None:
        steps = {
            "NotStarted": lambda job: move(self._store, job, "Queued"),
            "Queued": self._take_slot,
            "Preparing": self._start,
            "Running": self._watch,
            "Finalizing": self._finish,
            "CancelRequested": self._stop_job,
        }
        steps[job["status"]](job)

    def _take_slot(self, job: Document) -> None:
        if self._faults.delays("slow_job", job):
            self._store.put("job", job["name"], job)
            return
        others = [other for other in self._open() if other["name"] != job["name"]]
        if sum(map(self._has_machine, others)) < self._config.slots:
            move(self._store, job, "Preparing")

    def _has_machine(self, job: Document) -> bool:
        stopping = job["status"] == "CancelRequested" and processes.leader(self._claim(job)) is not None
        return stopping or job["status"] in ("Preparing", "Running", "Finalizing")

    def _start(self, job: Document) -> None:
        if fault := self._faults.take("job_failure"):
            move(self._store, job, "Failed", {"code": fault["code"], "message": fault["message"]})
            return
        claim = self._claim(job)
        if processes.leader(claim) is not None:
            job["started"] = time.time()
            move(self._store, job, "Running")
        elif claim not in self._launched:
            try:
                self._launch(job, claim)
            except strict.ArmError as error:
                move(self._store, job, "Failed", {"code": error.code, "message": error.message})
        elif not processes.starting(claim, job["history"][-1]["at"]):
            self._requeue(job)

    def _launch(self, job: Document, claim: Path) -> None:
        environment = self._config.environment_of(job["properties"]["environmentId"])
        if environment is None:  # the table changed between two starts
            raise strict.user_error(f"environment '{job['properties']['environmentId']}' is gone")
        paths = self._mount(job)
        command = resolve_command(job["properties"], paths)
        folder = self._folder(job)
        processes.launch(
            claim,
            [*self._launcher(job["properties"]), "bash", "-c", command],
            cwd=folder / "wd",
            env=self._variables(job, environment, paths),
            log=folder / "user_logs" / "std_log.txt",
        )
        self._launched.add(claim)

    def _launcher(self, properties: Document) -> list[str]:
        """What starts the command once a process, where the job is to have several."""
        if (distribution := properties.get("distribution")) is None:
            return []
        counts = {
            "--instances": (properties.get("resources") or {}).get("instanceCount") or 1,
            "--processes": distribution.get("processCountPerInstance") or 1,
            "--port": free_port(None),
            "--grace-s": self._config.stop_grace_s,
        }
        arguments = [str(word) for pair in counts.items() for word in pair]
        return [sys.executable, "-P", distributed.__file__, *arguments, "--"]

    def _mount(self, job: Document) -> dict[str, Path]:
        """Local path by `inputs.NAME` and `outputs.NAME`: inputs must exist, output folders are made."""
        properties, place = job["properties"], self._place(job)
        paths = {}
        for name, entry in (properties.get("inputs") or {}).items():
            if entry.get("uri"):
                path = paths[f"inputs.{name}"] = self._mounts.path(entry["uri"], place)
                if not path.exists():
                    raise strict.user_error(f"input '{name}' was not found at {entry['uri']}")
        for name, entry in (properties.get("outputs") or {}).items():
            path = paths[f"outputs.{name}"] = self._mounts.path(entry["uri"], place)
            path.mkdir(parents=True, exist_ok=True)
        return paths

    def _variables(self, job: Document, environment: Environment, paths: dict[str, Path]) -> dict[str, str]:
        tracking = f"{self._config.url}/mlflow/v2.0{job['workspace']}"
        mounts = {f"AZURE_ML_{key.split('s.')[0].upper()}_{key.split('.')[1]}": str(p) for key, p in paths.items()}
        container = processes.container(self._folder(job), environment.variables)
        return {
            **container,
            "PATH": f"{self._interpreter(environment)}:{container['PATH']}",
            "AZUREML_RUN_ID": job["name"],
            "MLFLOW_RUN_ID": job["name"],
            "MLFLOW_EXPERIMENT_NAME": job["properties"]["experimentName"],
            "MLFLOW_TRACKING_URI": tracking,
            "MLFLOW_TRACKING_TOKEN": job_token(self._config.secret),
            **managed_identity(self._config.url, self._config.secret, job["properties"].get("identity")),
            **mounts,
            **(job["properties"].get("environmentVariables") or {}),
        }

    def _interpreter(self, environment: Environment) -> Path:
        """A folder whose `python` is the environment's: a link would lose its virtual environment."""
        folder = self._config.root / "interpreters" / environment.python.strip("/").replace("/", "-")
        folder.mkdir(parents=True, exist_ok=True)
        command = f"exec {shlex.quote(environment.python)}"
        if environment.python == sys.executable:
            # An editable installation finds our code from anywhere, through a .pth file, which an image has not: -S.
            packages = shlex.quote(sysconfig.get_path("purelib"))
            command = f'PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}"{packages} {command} -S'
        for name in ("python", "python3"):
            script = folder / name
            if not script.exists():
                partial = folder / f".{name}.{os.getpid()}"
                partial.write_text(f'#!/bin/sh\n{command} "$@"\n')
                partial.chmod(0o755)
                partial.replace(script)
        return folder

    def _watch(self, job: Document) -> None:
        claim = self._claim(job)
        timeout_s = timeout_of(job["properties"])
        if self._faults.take("vanish"):
            processes.send_signal(claim, signal.SIGKILL)
            self._store.delete("job", job["name"])
        elif (code := processes.exit_code(claim)) is not None:
            job["exit_code"] = code
            move(self._store, job, "Finalizing")
        elif not processes.is_running(claim):
            self._requeue(job)
        elif timeout_s is not None and time.time() - job["started"] > timeout_s:
            message = f"the job ran longer than its limit of {timeout_s:g} s"
            move(self._store, job, "CancelRequested", {"code": "JobTimeout", "message": message})

    def _requeue(self, job: Document) -> None:
        """The machine is gone, as on a spot preemption: the same job runs again from its beginning."""
        processes.send_signal(self._claim(job), signal.SIGKILL)
        job["attempt"] += 1
        move(self._store, job, "Queued")

    def _finish(self, job: Document) -> None:
        if self._claim(job) not in self._saved:
            return
        processes.send_signal(self._claim(job), signal.SIGKILL)  # what it left running in the background
        try:
            if code := job["exit_code"]:
                raise strict.user_error(f"Execution failed. User process exited with status code {code}.")
            for entry in (job["properties"].get("outputs") or {}).values():
                self._mounts.check(entry["uri"], self._place(job))
            move(self._store, job, "Completed")
        except strict.ArmError as error:
            move(self._store, job, "Failed", {"code": error.code, "message": error.message})

    def _stop_job(self, job: Document) -> None:
        """SIGTERM once, SIGKILL after the grace period, Canceled when the group is gone."""
        claim = self._claim(job)
        waited_s = processes.seconds_since(job["history"][-1]["at"])
        if claim in self._launched and processes.starting(claim, job["history"][-1]["at"]):
            return
        if not processes.members(claim):
            if claim in self._saved:
                move(self._store, job, "Canceled")
        elif not job.get("terminated"):
            processes.send_signal(claim, signal.SIGTERM)
            job["terminated"] = True
            self._store.put("job", job["name"], job)
        elif waited_s > self._config.stop_grace_s:
            processes.send_signal(claim, signal.SIGKILL)

    def _folder(self, job: Document) -> Path:
        return self._config.root / "jobs" / str(job["name"])

    def _claim(self, job: Document) -> Path:
        return self._folder(job) / "attempts" / str(job["attempt"])

    def _place(self, job: Document) -> Path:
        """For copies of its files; every attempt runs on a machine of its own."""
        return self._folder(job) / "files" / str(job["attempt"])


def resolve_command(properties: Document, paths: dict[str, Path]) -> str:
    """The command with every placeholder replaced by a quoted local path or literal."""

    def value(match: re.Match[str]) -> str:
        key = f"{match[1]}.{match[2]}"
        literal: Any = paths.get(key) or properties[match[1]][match[2]].get("value", "")
        return shlex.quote(str(literal))

    return _PLACEHOLDER.sub(value, properties["command"])


def call_mlflow(store: WorkspaceStore, method: str, path: str, arguments: Document) -> Document:
    """The part of the MLflow REST API that carries a live curve: a job's batches, and our own reader.

    A run has its job's name. Raises ArmError: 501 for what is not emulated, 404 for a run that is no job."""
    route = {"POST runs/log-batch": _log_batch, "GET metrics/get-history": _history}.get(f"{method} {path}")
    if route is None:
        raise strict.ArmError(501, "NotImplemented", f"MLflow {method} {path} is not emulated")
    run = str(arguments.get("run_id"))
    with store.transaction():
        if store.get("job", run) is None:
            raise strict.ArmError(404, "ResourceNotFound", f"run '{run}' was not found")
        return route(store, run, arguments)


def _log_batch(store: WorkspaceStore, run: str, arguments: Document) -> Document:
    for point in arguments.get("metrics") or []:
        at = int(point.get("timestamp") or time.time() * 1000)
        store.add_metric(run, point["key"], float(point["value"]), int(point.get("step") or 0), at)
    return {}


def _history(store: WorkspaceStore, run: str, arguments: Document) -> Document:
    limit = min(int(arguments.get("max_results") or _PAGE), 25_000)
    token = re.fullmatch(_AFTER.format(r"(\d+)"), arguments.get("page_token") or _AFTER.format(0))
    if token is None:
        raise strict.ArmError(400, "InvalidParameterValue", f"'{arguments['page_token']}' is no page_token")
    rows = store.metrics(run, arguments["metric_key"], int(token[1]), limit + 1)
    page: Document = {"metrics": [point for _, point in rows[:limit]]}
    if len(rows) > limit:
        page["next_page_token"] = _AFTER.format(rows[limit - 1][0])
    return page
