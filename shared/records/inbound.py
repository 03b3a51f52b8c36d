"""The keys of a project's intake URL, as hashes, and what events of other systems were answered."""

import hashlib
import hmac
import re
import secrets
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from shared.domain.errors import StoreConflict
from shared.ports import RunStore, Write
from shared.records.document import head, put, time_of
from shared.records.outbox import INBOX_TTL_S

KEY, ANSWER = "intake_key", "inbound"
_TEXT = re.compile(r"dtk_([12])_[a-zA-Z0-9_-]{43}")


def new_key(store: RunStore, project: str, by: str, now: datetime, days: int) -> str:
    """Its text, which is kept nowhere. The newest two are valid: it takes the place of the older one.

    Raises StoreConflict if another was made at the same time.
    """
    held = {slot: store.get(f"intake:{project}", f"{KEY}.{slot}") for slot in "12"}
    slot = min(held, key=lambda one: stored.document["created_at"] if (stored := held[one]) else "")
    text, id = f"dtk_{slot}_{secrets.token_urlsafe(32)}", f"{KEY}.{slot}"
    times = {"created_at": now.isoformat(), "expires_at": (now + timedelta(days=days)).isoformat()}
    content = {**head(KEY, id), **times, "by": by, "sha256": hashlib.sha256(text.encode()).hexdigest()}
    store.batch(f"intake:{project}", [put(id, content, held[slot], ttl_s=days * 86400)])
    return text


def is_valid(store: RunStore, project: str, text: str, now: datetime) -> bool:
    """Whether it is a key of the project."""
    slot = _TEXT.fullmatch(text)
    stored = store.get(f"intake:{project}", f"{KEY}.{slot[1]}") if slot else None
    if stored is None or now >= time_of(stored.document["expires_at"]):
        return False
    return hmac.compare_digest(hashlib.sha256(text.encode()).hexdigest(), str(stored.document["sha256"]))


def answer(store: RunStore, key: str) -> Any:
    """What was answered to an event; None to one that was not seen, or was refused."""
    stored = store.get(f"{ANSWER}:{key}", ANSWER)
    return stored and stored.document["answer"]


def keep(store: RunStore, key: str, given: dict[str, Any], now: datetime) -> None:
    document = {**head(ANSWER), "created_at": now.isoformat(), "answer": given}
    with suppress(StoreConflict):  # the same event came twice at once: both have done the same
        store.batch(f"{ANSWER}:{key}", [Write("create", ANSWER, document, ttl_s=INBOX_TTL_S)])
