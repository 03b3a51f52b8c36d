"""Claims: create-if-absent documents for what spans runs. The owner is a run: docs/explanation/design-rules.md."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from shared.domain.errors import StoreConflict
from shared.domain.upgrades import upgraded
from shared.ports import RunStore, Stored, Write
from shared.records.document import head, pages, put, read_one, readable, time_of

CLAIM = "claim"


@dataclass(frozen=True, slots=True)
class Claim:
    """`kind` is the part of the name before its first colon. `owner` is a run, or the order of a rollback."""

    name: str
    kind: str
    owner: str
    created_at: datetime


def dataset_claim(project: str, sha256: str, fingerprint: str) -> str:
    return f"dataset:{project}:{sha256}:{fingerprint}"


def reading_claim(project: str) -> str:
    """Reading a large file that was dropped."""
    return f"reading:{project}"


def endpoint_claim(endpoint: str) -> str:
    return f"endpoint:{endpoint}"


def turn_claim(endpoint: str) -> str:
    """The turn to be evaluated against what the endpoint serves, and to replace it."""
    return f"turn:{endpoint}"


def attempt_claim(project: str, held_out: str, number: int) -> str:
    """The evaluation of this number against one held-out set of the project; it is kept for good."""
    return f"attempt:{project}:{held_out}:{number}"


def take(store: RunStore, name: str, run_id: str, now: datetime, *, settled: int = 0) -> str:
    """Claim `name` for a run; returns the owner, who may be another run. `settled`: for good. Raises as `read`."""
    kind, created_at = name.split(":", 1)[0], now.isoformat()
    document = {"name": name, "kind": kind, "owner": run_id, "settled": settled, "created_at": created_at}
    try:
        store.batch(name, [Write("create", CLAIM, {**head(CLAIM), **document})])
    except StoreConflict:
        held = read(store, name)
        # None: released between the two calls.
        return held.owner if held else take(store, name, run_id, now, settled=settled)
    return run_id


def read(store: RunStore, name: str) -> Claim | None:
    """The claim of that name; None if nothing holds it. Raises WaitsForRelease, and LaterVersion."""
    return read_one(store, name, CLAIM, claim_of)


def unsettled(store: RunStore) -> Iterator[Claim]:
    """Every claim that a finished run may have left behind."""
    return readable(pages(store, CLAIM, {"settled": 0}), claim_of)


def release(store: RunStore, name: str, run_id: str) -> None:
    """Give the claim back if this run holds it, as far as it can be read."""
    if (held := _held(store, name, run_id)) is not None:
        _write(store, name, Write("delete", CLAIM, etag=held.etag))


def settle(store: RunStore, name: str, run_id: str, ttl_s: int | None = None) -> None:
    """Keep the claim, for good without `ttl_s`, if this run holds it: it is not looked at again."""
    held = _held(store, name, run_id)
    if held is not None and not held.document["settled"]:
        _write(store, name, put(CLAIM, {"settled": 1}, held, ttl_s=ttl_s))


def _held(store: RunStore, name: str, run_id: str) -> Stored | None:
    held = store.get(name, CLAIM)
    return held if any(claim.owner == run_id for claim in readable([held] if held else [], claim_of)) else None


def _write(store: RunStore, name: str, write: Write) -> None:
    try:
        store.batch(name, [write])
    except StoreConflict:
        return  # another process released it meanwhile


def claim_of(stored: Stored) -> Claim:
    """The claim in a document. Raises LaterVersion, and an error for what is no claim of its name."""
    document = upgraded(CLAIM, stored.document, stored.document.get("schema_version"))
    name, kind, owner = (document[field] for field in ("name", "kind", "owner"))
    if not all(isinstance(text, str) for text in (name, kind, owner)):
        raise TypeError("name, kind and owner of a claim are texts")
    if (name, kind) != (stored.partition, stored.partition.partition(":")[0]):
        raise ValueError("it is of another name")
    return Claim(name, kind, owner, time_of(document["created_at"]))
