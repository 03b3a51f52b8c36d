"""The platform's policy, every version that was applied, and which licenses of base models a person has accepted."""

from datetime import datetime
from typing import Any

from shared.domain import catalog
from shared.domain.catalog import LicenseDecision
from shared.domain.errors import StoreConflict, Transient
from shared.domain.policy import AppliedPolicy, PlatformPolicy
from shared.domain.upgrades import upgraded
from shared.ports import RunStore, Write
from shared.records.document import head, put

POLICY = "policy"


def read(store: RunStore, version: int | None = None) -> AppliedPolicy:
    """The one that is in force, or that version; without it, one that limits nothing. The base models of the one in
    force are then found beside the catalog's.

    Raises Transient `policy_unreadable`: until it can be read nothing goes on, for nobody knows what it allows.
    """
    stored = store.get(POLICY, _id(version))
    try:
        applied = AppliedPolicy() if stored is None else _applied(stored.document)
    except Exception as error:
        message = "the policy does not fit this version of the app: an administrator applies one that does"
        raise Transient("policy_unreadable", message, POLICY) from error
    if version is None:
        catalog.offer(applied.policy.base_models)
    return applied


def _applied(document: dict[str, Any]) -> AppliedPolicy:
    content = upgraded(POLICY, document, document.get("schema_version"))["content"]
    return AppliedPolicy.model_validate(content, extra="ignore")


def apply(store: RunStore, policy: PlatformPolicy, replacing: int, by: str, by_id: str, now: datetime) -> AppliedPolicy:
    """Put it in force, in the place of that version. Raises StoreConflict if another is in force by now."""
    stored = store.get(POLICY, POLICY)
    found = stored.document["version"] if stored else 0
    if found != replacing:
        raise StoreConflict(f"version {found} of the policy is in force by now, not {replacing}")
    applied = AppliedPolicy(version=found + 1, policy=policy, by=by, by_id=by_id, at=now)
    kept = {"version": applied.version, "created_at": now.isoformat(), "content": applied.model_dump(mode="json")}
    copy = Write("create", _id(applied.version), {**head(f"{POLICY}_version", _id(applied.version)), **kept})
    store.batch(POLICY, [put(POLICY, {**head(POLICY), **kept}, stored), copy])
    return applied


def _id(version: int | None) -> str:
    return POLICY if version is None else f"{POLICY}.{version}"


LICENSE = "license"


def license_decisions(store: RunStore, base_model: str) -> tuple[LicenseDecision, ...]:
    """Oldest first; the newest counts. Raises Transient `license_unreadable`: until then nobody knows what it is."""
    stored = store.get(f"{LICENSE}:{base_model}", LICENSE)
    try:
        found = stored.document["decisions"] if stored else ()
        return tuple(LicenseDecision.model_validate(one, extra="ignore") for one in found)
    except Exception as error:
        message = "what was decided about the license does not fit this version of the app"
        raise Transient("license_unreadable", message, base_model) from error


def decide_license(store: RunStore, decision: LicenseDecision) -> None:
    """Add it. Raises StoreConflict if another was added meanwhile, and as `license_decisions`."""
    partition = f"{LICENSE}:{decision.base_model}"
    stored = store.get(partition, LICENSE)
    all = (*license_decisions(store, decision.base_model), decision)
    content = {"created_at": decision.at.isoformat(), "decisions": [one.model_dump(mode="json") for one in all]}
    store.batch(partition, [put(LICENSE, {**head(LICENSE), **content}, stored)])
