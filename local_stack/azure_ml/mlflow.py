"""The part of the MLflow REST API that MlflowClient and our own reader use. A run has its job's name."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from local_stack.azure_ml.config import experiment_id
from local_stack.azure_ml.store import Document, WorkspaceStore
from local_stack.azure_ml.strict import ArmError

# MLflow's spelling of Azure ML's job states.
_STATUS = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED", "NotStarted": "SCHEDULED"}
_PAGE = 1000


class MlflowError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Mlflow:
    def __init__(self, store: WorkspaceStore) -> None:
        self._store = store
        self.routes: Mapping[tuple[str, str], Callable[[Document], Document]] = {
            ("GET", "runs/get"): self._get_run,
            ("POST", "runs/update"): self._update_run,
            ("POST", "runs/log-metric"): self._log_metric,
            ("POST", "runs/log-batch"): self._log_batch,
            ("POST", "runs/log-parameter"): self._log_parameter,
            ("POST", "runs/set-tag"): self._set_tag,
            ("GET", "metrics/get-history"): self._history,
            ("GET", "experiments/get"): self._experiment,
            ("GET", "experiments/get-by-name"): self._experiment,
        }

    def call(self, method: str, path: str, arguments: Document) -> Document:
        """Raises ArmError 501 for what is not emulated, MlflowError as MLflow itself would answer."""
        route = self.routes.get((method, path))
        if route is None:
            raise ArmError(501, "NotImplemented", f"MLflow {method} {path} is not emulated")
        with self._store.transaction():
            return route(arguments)

    def _job(self, arguments: Document) -> Document:
        name = arguments.get("run_id") or arguments.get("run_uuid") or ""
        job = self._store.get("job", name)
        if job is None:
            raise MlflowError(404, "RESOURCE_DOES_NOT_EXIST", f"run '{name}' was not found")
        return job

    def _run(self, name: str) -> Document:
        return self._store.get("mlflow", name) or {"params": {}, "tags": {}, "status": None, "end_time": None}

    def _get_run(self, arguments: Document) -> Document:
        job = self._job(arguments)
        name, run = job["name"], self._run(job["name"])
        info = {
            "run_id": name,
            "run_uuid": name,
            "run_name": name,
            "experiment_id": experiment_id(job["properties"]["experimentName"]),
            "user_id": "local",
            "status": run["status"] or _STATUS.get(job["status"], "RUNNING"),
            "start_time": int(job["history"][0]["at"] * 1000),
            "end_time": run["end_time"],
            "artifact_uri": f"azureml://jobs/{name}/outputs/artifacts",
            "lifecycle_stage": "active",
        }
        data = {
            "metrics": self._store.latest_metrics(name),
            "params": [{"key": k, "value": v} for k, v in run["params"].items()],
            "tags": [{"key": k, "value": v} for k, v in run["tags"].items()],
        }
        return {"run": {"info": info, "data": data, "inputs": {}}}

    def _update_run(self, arguments: Document) -> Document:
        name = self._job(arguments)["name"]
        run = self._run(name) | {k: arguments[k] for k in ("status", "end_time") if k in arguments}
        self._store.put("mlflow", name, run)
        return {"run_info": self._get_run({"run_id": name})["run"]["info"]}

    def _log_metric(self, arguments: Document) -> Document:
        self._add_metrics(self._job(arguments)["name"], [arguments])
        return {}

    def _add_metrics(self, name: str, points: list[Document]) -> None:
        for point in points:
            at = int(point.get("timestamp") or time.time() * 1000)
            self._store.add_metric(name, point["key"], float(point["value"]), int(point.get("step") or 0), at)

    def _log_batch(self, arguments: Document) -> Document:
        name = self._job(arguments)["name"]
        self._add_metrics(name, arguments.get("metrics") or [])
        for kind in ("params", "tags"):
            self._add_pairs(name, kind, arguments.get(kind) or [])
        return {}

    def _log_parameter(self, arguments: Document) -> Document:
        self._add_pairs(self._job(arguments)["name"], "params", [arguments])
        return {}

    def _set_tag(self, arguments: Document) -> Document:
        self._add_pairs(self._job(arguments)["name"], "tags", [arguments])
        return {}

    def _add_pairs(self, name: str, kind: str, pairs: list[Document]) -> None:
        run = self._run(name)
        for pair in pairs:
            known = run[kind].setdefault(pair["key"], pair["value"])
            if kind == "params" and known != pair["value"]:
                message = f"parameter '{pair['key']}' was logged before with another value"
                raise MlflowError(400, "INVALID_PARAMETER_VALUE", message)
            run[kind][pair["key"]] = pair["value"]
        self._store.put("mlflow", name, run)

    def _history(self, arguments: Document) -> Document:
        name = self._job(arguments)["name"]
        limit = min(int(arguments.get("max_results") or _PAGE), 25_000)
        after = int(arguments.get("page_token") or 0)
        rows = self._store.metrics(name, arguments["metric_key"], after, limit + 1)
        page: Document = {"metrics": [point for _, point in rows[:limit]]}
        if len(rows) > limit:
            page["next_page_token"] = str(rows[limit - 1][0])
        return page

    def _experiment(self, arguments: Document) -> Document:
        names = {job["properties"]["experimentName"] for job in self._store.all("job")}
        for name in names:
            requested = (arguments.get("experiment_name"), arguments.get("experiment_id"))
            if name in requested or experiment_id(name) in requested:
                fields = {"experiment_id": experiment_id(name), "name": name, "lifecycle_stage": "active"}
                return {"experiment": {**fields, "artifact_location": "", "tags": []}}
        raise MlflowError(404, "RESOURCE_DOES_NOT_EXIST", "the experiment was not found")
