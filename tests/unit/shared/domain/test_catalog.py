from __future__ import annotations

import pytest

from shared.domain.catalog import CATALOG, SKUS, check_license, find_entry, find_sku
from shared.domain.errors import FailureClass, PermanentFailure

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def refusal(base_model, use_case: str = "") -> list[str]:
    return [problem.code for problem in check_license(base_model, use_case)]


def test_only_models_whose_license_was_read_and_fits_get_through() -> None:
    samples = {
        "meta-llama/Llama-3.3-70B-Instruct": ["license_needs_use_case"],
        "microsoft/Phi-4": [],
        "Qwen/Qwen2.5-72B-Instruct": ["license_review"],
        "Qwen/Qwen2.5-3B-Instruct": ["license_denied"],
        "mistralai/Codestral-22B-v0.1": ["license_denied"],
    }
    assert {id: refusal(id) for id in samples} == samples
    passed = {id for id in CATALOG if not refusal(id, "summaries of maintenance logs")}
    assert passed == {entry.id for entry in CATALOG.values() if entry.license_policy == "allow"}


def test_an_unknown_model_is_refused_and_the_offered_ones_are_named() -> None:
    (problem,) = check_license("acme/gpt", "anything")
    assert problem.code == "unknown_base_model"
    assert "microsoft/Phi-4" in problem.message
    assert "Ministral" not in problem.message


def test_llama_needs_a_use_case_that_says_something() -> None:
    assert refusal(LLAMA, "  ") == ["license_needs_use_case"]
    assert refusal(LLAMA, "summaries of maintenance logs") == []


def test_an_entry_says_what_its_license_asks() -> None:
    assert all(entry.obligations and entry.license for entry in CATALOG.values())
    assert all(
        entry.asset and entry.architecture and entry.context_tokens and entry.parameters
        for entry in CATALOG.values()
        if entry.license_policy == "allow"
    )


def test_what_is_not_in_the_catalog_is_a_permanent_failure() -> None:
    with pytest.raises(PermanentFailure) as failure:
        find_entry("acme/gpt")
    assert (failure.value.failure_class, failure.value.problem.code) == (
        FailureClass.LICENSE,
        "unknown_base_model",
    )
    with pytest.raises(PermanentFailure) as failure:
        find_sku("Standard_X")
    assert failure.value.problem.code == "unknown_instance_type"


def test_a_spot_price_that_nobody_knows_is_the_dedicated_one() -> None:
    t4 = find_sku("Standard_NC4as_T4_v3")
    assert (t4.usd_per_hour_spot, t4.price(spot=True)) == (None, 0.53)
    assert find_sku("Standard_NC24ads_A100_v4").price(spot=True) == 0.60
    assert len({sku.name for sku in SKUS}) == len(SKUS)
