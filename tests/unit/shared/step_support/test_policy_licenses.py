"""When a person has to accept a license, and until when that counts."""

from __future__ import annotations

import pytest

from shared.domain.catalog import CATALOG, LicenseDecision
from shared.domain.policy import PlatformPolicy
from shared.ports import Services
from shared.records import policies
from shared.rendering.bundle import MANIFEST
from shared.step_support.policy import review_problem, terms_sha256

TINY, PHI, LLAMA = (
    CATALOG[id] for id in ("droptune/tiny-llama", "microsoft/Phi-4", "meta-llama/Llama-3.1-8B-Instruct")
)
SOME, EVERY = PlatformPolicy(), PlatformPolicy(review_every_license=True)


def decide(services: Services, entry=LLAMA, *, accepted: bool = True, by_id: str = "object-1") -> None:
    by = {
        "base_model": entry.id,
        "by": "ada",
        "by_id": by_id,
        "at": services.clock.now(),
        "comment": "our lawyers",
    }
    policies.decide_license(
        services.store, LicenseDecision(accepted=accepted, terms_sha256=terms_sha256(entry, services.blobs), **by)
    )


def found(services: Services, policy: PlatformPolicy = SOME, entry=LLAMA, requester_ids: tuple[str, ...] = ()) -> str:
    problem = review_problem(entry, policy, services, requester_ids)
    assert problem is None or (problem.code, problem.param) == ("license_review", "base_model")
    return problem.message if problem else ""


def test_a_license_with_terms_of_its_own_is_accepted_once_by_a_person(services: Services) -> None:
    assert found(services).endswith(
        "nobody has accepted it yet; `droptune license show meta-llama/Llama-3.1-8B-Instruct`"
    )
    decide(services)
    assert found(services) == ""
    assert found(services, entry=CATALOG["meta-llama/Llama-3.3-70B-Instruct"]), "another base model"


@pytest.mark.parametrize(
    ("entry", "policy", "asks"), [(PHI, SOME, False), (PHI, EVERY, True), (TINY, SOME, False), (TINY, EVERY, False)]
)
def test_the_policy_asks_for_every_license_but_our_own(services: Services, entry, policy, asks: bool) -> None:
    assert bool(found(services, policy, entry)) is asks
    decide(services, entry)
    assert found(services, policy, entry) == ""


@pytest.mark.parametrize("entry", [PHI, TINY])
def test_a_refused_license_stops_a_model_that_needs_no_acceptance_too_until_it_is_accepted(
    services: Services, entry
) -> None:
    decide(services, entry, accepted=False)
    assert "it was refused by ada on 2" in found(services, entry=entry)
    assert ": our lawyers;" in found(services, entry=entry)
    decide(services, entry)
    assert found(services, entry=entry) == ""


def test_nobody_asks_for_the_acceptance_of_what_is_not_offered_anyway(services: Services) -> None:
    assert found(services, EVERY, CATALOG["Qwen/Qwen2.5-3B-Instruct"]) == ""


def test_who_asked_for_a_run_needs_another_one_who_accepts(services: Services) -> None:
    decide(services)
    assert found(services, requester_ids=("object-2",)) == ""
    assert "accepted by ada on 2" in found(services, requester_ids=("object-1",))
    assert "alone, who asked for this run: another administrator accepts it too" in found(
        services, requester_ids=("object-1",)
    )
    decide(services, by_id="")
    assert "alone" in found(services, requester_ids=("object-1",)), "nobody known"
    decide(services, by_id="object-3")
    assert found(services, requester_ids=("object-1",)) == ""
    assert found(services, requester_ids=("object-3",)) == "", "the first acceptance counts on"
    decide(services, accepted=False, by_id="object-3")
    decide(services)
    assert "alone" in found(services, requester_ids=("object-1",)), "what was said before a refusal does not count"


def test_it_is_asked_for_again_when_the_catalog_or_the_files_of_the_base_change(services: Services) -> None:
    decide(services)
    terms = LLAMA.terms.model_copy(update={"barred_uses": (*LLAMA.terms.barred_uses, "commercial")})
    assert "what ada on 2" in found(services, entry=LLAMA.model_copy(update={"terms": terms}))
    manifest = (
        '{"base_model": "a", "asset": "a", "license": "a", "obligations": [], "sha256": "a", "template_sha256": "a", '
        '"special_tokens": [], "files": {}, "license_files": {"LICENSE": "%s"}}'
    )
    services.blobs.write(f"{LLAMA.tokenizer}{MANIFEST}", [(manifest % ("0" * 64)).encode()])
    assert "accepted has changed" in found(services)
    decide(services)
    assert found(services) == ""
    services.blobs.write(f"{LLAMA.tokenizer}{MANIFEST}", [(manifest % ("1" * 64)).encode()])
    assert "accepted has changed" in found(services)
    services.blobs.write(f"{LLAMA.tokenizer}{MANIFEST}", [(manifest % ("0" * 64)).encode()])
    assert found(services) == "", "this text was accepted"
