"""Faults a test may inject: they strike the next time the emulator comes by."""

import time

from local_stack.azure_ml.store import Document, WorkspaceStore
from local_stack.azure_ml.strict import user_error

# Azure docs: what a job or a deployment says when the subscription or the region has no machine for it. Of a deployment
# its operation may say so after the request was accepted ("Troubleshoot online endpoints", common deployment errors).
_FAILURE: Document = {"kind": "job_failure"}
_NO_QUOTA = {"code": "OutOfQuota", "message": "Not enough quota available for the requested instance type."}
_NO_CAPACITY = {"code": "AllocationFailed", "message": "The region has no capacity for the requested instance type."}
_PRESETS: dict[str, Document] = {
    "quota": _FAILURE | _NO_QUOTA,
    "capacity": _FAILURE | _NO_CAPACITY,
    "no_machine": {"kind": "no_machine", **_NO_QUOTA},
    "job_failure": _FAILURE | {"code": "UserError", "message": "A fault was injected."},
    "drop_events": {"kind": "drop_events"},
    "disorder_events": {"kind": "disorder_events", "late_s": 2.0},
    "vanish": {"kind": "vanish"},
    **{kind: {"kind": kind, "seconds": 3600.0} for kind in ("slow_job", "slow_endpoint", "slow_deployment")},
    "refuse": {"kind": "refuse", "status": 503, "code": "ServiceUnavailable", "message": "A fault was injected."},
}


class Faults:
    """Kept in the store, so a fault outlives a restart."""

    def __init__(self, store: WorkspaceStore) -> None:
        self._store = store

    def inject(self, body: Document) -> None:
        """Inject a fault, to strike `count` times.

        `kind`: job_failure, quota, capacity (the next jobs fail with `code` and `message`; no_machine: the next
        deployment), refuse (the next writes are answered `status`, `code`, `message`), drop_events, disorder_events
        (each comes twice, up to twice `late_s` late, every second one after its successor), vanish (a running job
        leaves no trace), slow_job, slow_endpoint, slow_deployment (the next waits `seconds` for its machines).
        """
        preset = _PRESETS.get(str(body.get("kind")))
        if preset is None:
            raise user_error(f"fault kind must be one of {sorted(_PRESETS)}")
        fault: Document = {"count": 1, **preset, **{k: v for k, v in body.items() if k != "kind"}}
        self._store.put("fault", str(fault["kind"]), fault)

    def delays(self, kind: str, notes: Document) -> bool:
        """Whether something still waits for its machines; until when is in `notes`, which the caller stores."""
        if "due" not in notes:
            fault = self.take(kind)
            notes["due"] = time.time() + (fault["seconds"] if fault else 0.0)
        return time.time() < float(notes["due"])

    def take(self, kind: str) -> Document | None:
        """The injected fault, one time fewer; None if there is none."""
        with self._store.transaction():
            fault = self._store.get("fault", kind)
            if fault is None:
                return None
            fault["count"] -= 1
            if fault["count"] > 0:
                self._store.put("fault", kind, fault)
            else:
                self._store.delete("fault", kind)
            return fault
