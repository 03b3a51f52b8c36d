"""Decisions about licenses in the store."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.domain.catalog import LicenseDecision
from shared.domain.errors import Transient
from shared.ports import Services, Write
from shared.records import policies

BASE = "meta-llama/Llama-3.1-8B-Instruct"
ACCEPTED = LicenseDecision(
    base_model=BASE, accepted=True, terms_sha256="0" * 64, by="ada", by_id="object-1", comment="read by legal",
    at=datetime(2026, 1, 2, tzinfo=UTC),
)  # fmt: skip
REFUSED = ACCEPTED.model_copy(update={"accepted": False, "by": "bob"})


def test_every_decision_is_kept_and_is_about_one_base_model(services: Services) -> None:
    assert policies.license_decisions(services.store, BASE) == ()
    policies.decide_license(services.store, ACCEPTED)
    policies.decide_license(services.store, REFUSED)
    assert policies.license_decisions(services.store, BASE) == (ACCEPTED, REFUSED)
    assert policies.license_decisions(services.store, "microsoft/Phi-4") == ()


def test_what_cannot_be_read_is_no_acceptance(services: Services) -> None:
    policies.decide_license(services.store, ACCEPTED)
    stored = services.store.get(f"license:{BASE}", "license")
    assert stored is not None
    damaged = {**stored.document, "decisions": [{"accepted": "perhaps"}]}
    services.store.batch(f"license:{BASE}", [Write("replace", "license", damaged, stored.etag)])
    with pytest.raises(Transient, match="license_unreadable"):
        policies.license_decisions(services.store, BASE)
