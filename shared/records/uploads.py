"""Who put a file into the drop zone over the API. A blob itself does not say so: whoever may write it may write that
too, and name somebody else."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.errors import StoreConflict
from shared.ports import RunStore, Write
from shared.records.document import head, put

UPLOAD = "upload"
ANNOUNCED_S = 600  # longer than a request takes, for one that broke off


@dataclass(frozen=True, slots=True)
class Uploaders:
    """Who wrote one file: the person who sent it, and with it everybody whose file it was made of."""

    name: str
    ids: tuple[str, ...]


def record(
    store: RunStore, path: str, etag: str, sha256: str, by: Uploaders, now: datetime, *, ttl_s: int | None = None
) -> None:
    """Of one version of a blob: the same content written again is another one, of whoever writes that. Without an
    etag the upload is announced, as the event of the blob may be faster than who has just learned its etag."""
    partition = _partition(path, etag, sha256)
    content: dict[str, Any] = {"by": by.name, "by_ids": list(by.ids), "created_at": now.isoformat()}
    store.batch(partition, [put(UPLOAD, {**head(UPLOAD), **content}, store.get(partition, UPLOAD), ttl_s=ttl_s)])


def withdraw(store: RunStore, path: str, sha256: str) -> None:
    """What was announced has ended, well or not."""
    with suppress(StoreConflict):  # another upload of the same content has
        store.batch(_partition(path, "", sha256), [Write("delete", UPLOAD)])


def uploaders(store: RunStore, path: str, etag: str, sha256: str) -> Uploaders | None:
    """Who uploaded exactly this version; None if nobody did over the API."""
    # In this order: what is announced is withdrawn after it was recorded.
    found = [store.get(_partition(path, one, sha256), UPLOAD) for one in ("", etag)]
    stored = found[1] or found[0]
    return Uploaders(str(stored.document["by"]), tuple(map(str, stored.document["by_ids"]))) if stored else None


def _partition(path: str, etag: str, sha256: str) -> str:
    return f"upload:{path}:{etag}:{sha256}"
