"""Receivers of notifications that refused for good: those that answered 410 get nothing until the note expires."""

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from shared.domain.errors import Problem, StoreConflict
from shared.ports import RunStore, Write
from shared.ports.services import GONE
from shared.records.document import head, pages, readable

REFUSED = "refused-channel"
REFUSED_TTL_S = 7 * 24 * 3600


def digest(url: str) -> str:
    """Stands for a URL, which may be a secret."""
    return hashlib.sha256(url.encode(errors="replace")).hexdigest()[:8]


def refuse(store: RunStore, url: str, problem: Problem, now: datetime) -> None:
    """Note it, unless it is noted."""
    content = {"code": problem.code, "message": problem.message, "at": now.isoformat()}
    with suppress(StoreConflict):
        note = Write("create", REFUSED, {**head(REFUSED), **content}, ttl_s=REFUSED_TTL_S)
        store.batch(f"channel:{digest(url)}", [note])


def is_gone(store: RunStore, url: str) -> bool:
    stored = store.get(f"channel:{digest(url)}", REFUSED)
    return stored is not None and stored.document.get("code") == GONE


def refused(store: RunStore) -> Iterator[str]:
    """What each of the last week said or is."""
    return readable(
        pages(store, REFUSED), lambda stored: f"{stored.document['message']} at {stored.document['at'][:19]}"
    )
