"""Which licenses of base models a person has accepted or refused."""

from shared.domain.errors import Transient
from shared.domain.licenses import LicenseDecision
from shared.ports import RunStore
from shared.records.document import head, put

LICENSE = "license"


def decisions(store: RunStore, base_model: str) -> tuple[LicenseDecision, ...]:
    """Oldest first; the newest counts. Raises Transient `license_unreadable`: until then nobody knows what it is."""
    stored = store.get(f"{LICENSE}:{base_model}", LICENSE)
    try:
        found = stored.document["decisions"] if stored else ()
        return tuple(LicenseDecision.model_validate(one, extra="ignore") for one in found)
    except Exception as error:
        message = "what was decided about the license does not fit this version of the app"
        raise Transient("license_unreadable", message, base_model) from error


def decide(store: RunStore, decision: LicenseDecision) -> None:
    """Add it. Raises StoreConflict if another was added meanwhile, and as `decisions`."""
    partition = f"{LICENSE}:{decision.base_model}"
    stored = store.get(partition, LICENSE)
    all = (*decisions(store, decision.base_model), decision)
    content = {"created_at": decision.at.isoformat(), "decisions": [one.model_dump(mode="json") for one in all]}
    store.batch(partition, [put(LICENSE, {**head(LICENSE), **content}, stored)])
