"""The part of the MLflow REST API that carries a live curve: a job's batches, and our own reader. A run has its job's
name."""

import re
import time

from local_stack.azure_ml.store import Document, WorkspaceStore
from local_stack.azure_ml.strict import ArmError

_PAGE = 1000
_AFTER = "{}/&="  # opaque for callers, who have to quote it


def call(store: WorkspaceStore, method: str, path: str, arguments: Document) -> Document:
    """Raises ArmError: 501 for what is not emulated, 404 for a run that is no job."""
    route = {"POST runs/log-batch": _log_batch, "GET metrics/get-history": _history}.get(f"{method} {path}")
    if route is None:
        raise ArmError(501, "NotImplemented", f"MLflow {method} {path} is not emulated")
    run = str(arguments.get("run_id"))
    with store.transaction():
        if store.get("job", run) is None:
            raise ArmError(404, "ResourceNotFound", f"run '{run}' was not found")
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
        raise ArmError(400, "InvalidParameterValue", f"'{arguments['page_token']}' is no page_token")
    rows = store.metrics(run, arguments["metric_key"], int(token[1]), limit + 1)
    page: Document = {"metrics": [point for _, point in rows[:limit]]}
    if len(rows) > limit:
        page["next_page_token"] = _AFTER.format(rows[limit - 1][0])
    return page
