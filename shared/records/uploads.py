"""Who put a file into the drop zone over the API. A blob itself does not say so: whoever may write it may write that
too, and name somebody else."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.ports import RunStore
from shared.records.document import head, put

UPLOAD = "upload"


@dataclass(frozen=True, slots=True)
class Uploader:
    name: str
    id: str


def record(store: RunStore, path: str, sha256: str, by: Uploader, now: datetime) -> None:
    """Before the blob is written, as its event may be faster than we. Of the same content the newest counts."""
    partition = _partition(path, sha256)
    content: dict[str, Any] = {"by": by.name, "by_id": by.id, "created_at": now.isoformat()}
    store.batch(partition, [put(UPLOAD, {**head(UPLOAD), **content}, store.get(partition, UPLOAD))])


def uploader(store: RunStore, path: str, sha256: str) -> Uploader | None:
    """Who uploaded exactly this content to this path; None if nobody did over the API."""
    stored = store.get(_partition(path, sha256), UPLOAD)
    return Uploader(str(stored.document["by"]), str(stored.document["by_id"])) if stored else None


def _partition(path: str, sha256: str) -> str:
    return f"upload:{path}:{sha256}"
