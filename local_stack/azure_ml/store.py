"""What the emulator knows, in one SQLite file: a restart, even after kill -9, loses nothing."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local_stack.azure_ml.strict import ArmError, user_error
from shared.embedded.sqlite import Database

Document = dict[str, Any]

_SCHEMA = tuple(Path(__file__).with_suffix(".sql").read_text().split(";\n"))


class WorkspaceStore:
    """Documents by kind and name, metric points, and the events not yet sent.

    Every method may be called from any thread; `transaction` makes several calls one.
    """

    def __init__(self, path: Path) -> None:
        self._database = Database(path, [_SCHEMA])

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside, or none; nested ones join the outer."""
        with self._database.read() as connection:
            if connection.in_transaction:
                yield
                return
            with self._database.write():
                yield

    def _execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._database.read() as connection:
            return connection.execute(statement, values).fetchall()

    def get(self, kind: str, name: str) -> Document | None:
        rows = self._execute("select body from documents where kind = ? and name = ?", kind, name)
        return json.loads(rows[0][0]) if rows else None

    def find(self, kind: str, name: str, code: str = "ResourceNotFound") -> Document:
        """Raises ArmError 404 with that code."""
        if (found := self.get(kind, name)) is None:
            raise ArmError(404, code, f"{kind} '{name.rpartition('/')[2]}' was not found")
        return found

    def put(self, kind: str, name: str, body: Document) -> None:
        self._execute(
            "insert into documents values (?, ?, ?, (select coalesce(max(seq), 0) + 1 from documents))"
            " on conflict (kind, name) do update set body = excluded.body",
            *(kind, name, json.dumps(body)),
        )

    def delete(self, kind: str, name: str) -> bool:
        return bool(self._execute("delete from documents where kind = ? and name = ? returning name", kind, name))

    def all(self, kind: str, prefix: str = "") -> list[Document]:
        """Documents of a kind whose name starts with `prefix`, oldest first."""
        statement = "select body from documents where kind = ? and substr(name, 1, ?) = ? order by seq"
        return [json.loads(body) for (body,) in self._execute(statement, kind, len(prefix), prefix)]

    def names(self, kind: str) -> list[str]:
        """Names of a kind, oldest first."""
        return [name for (name,) in self._execute("select name from documents where kind = ? order by seq", kind)]

    def add_metric(self, run: str, key: str, value: float, step: int, at: int) -> None:
        statement = "insert into metrics (run, key, value, step, at) values (?, ?, ?, ?, ?)"
        self._execute(statement, run, key, value, step, at)

    def metrics(self, run: str, key: str, after: int, limit: int) -> list[tuple[int, Document]]:
        """Points of one curve in the order logged, each with its row id (`after` continues there)."""
        statement = "select id, value, step, at from metrics where run = ? and key = ? and id > ? order by id limit ?"
        rows = self._execute(statement, run, key, after, limit)
        return [(row[0], {"key": key, "value": row[1], "step": row[2], "timestamp": row[3]}) for row in rows]

    def points(self, run: str, first: int, last: int) -> list[tuple[str, int, float]]:
        """Key, step and value of each point of steps `first` to `last`."""
        return self._execute(
            "select key, step, value from metrics where run = ? and step between ? and ?", *(run, first, last)
        )

    def add_event(self, event: Document) -> None:
        self._execute("insert into outbox (event) values (?)", json.dumps(event))

    def next_event(self) -> tuple[int, Document] | None:
        rows = self._execute("select id, event from outbox order by id limit 1")
        return (rows[0][0], json.loads(rows[0][1])) if rows else None

    def remove_event(self, id: int) -> None:
        self._execute("delete from outbox where id = ?", id)


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
    """Faults a test may inject: they strike the next time the emulator comes by. Kept, so they outlive a restart."""

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
