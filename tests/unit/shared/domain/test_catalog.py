from __future__ import annotations

import re
from itertools import product

import pytest

from shared.domain.catalog import CATALOG, LICENSES, SKUS, USES, check_license, find_entry, find_sku
from shared.domain.errors import FailureClass, PermanentFailure

LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


BARRED_BY_LLAMA = {
    "critical_infrastructure", "military", "weapons", "controlled_substances", "unlicensed_profession",
    "sensitive_data_without_rights", "unlawful_discrimination", "deception", "malicious_code", "harm_to_people",
    "infringement",
}  # fmt: skip
# What the text of each license bars.
BARS: dict[str, set[str]] = {
    "LicenseRef-droptune-project": set(),
    "Apache-2.0": set(),
    "MIT": set(),
    "LicenseRef-scancode-llama-3.1-license-2024": BARRED_BY_LLAMA,
    "LicenseRef-llama-3.2": {*BARRED_BY_LLAMA, "bypassing_safeguards"},
    "LicenseRef-llama-3.3": {*BARRED_BY_LLAMA, "bypassing_safeguards"},
    "LicenseRef-gemma-terms-of-use": {
        *BARRED_BY_LLAMA - {"critical_infrastructure", "military", "weapons"},
        *("bypassing_safeguards", "decisions_about_people", "sexual_content"),
    },
    "LicenseRef-qwen-research": {"commercial", "production"},
    "LicenseRef-mistral-research-0.1": {"commercial", "production"},
    "LicenseRef-mistral-non-production-0.1": {"commercial", "production"},
}


def refusal(base_model, use_case: str = "", uses: list[str] | None = None) -> list[str]:
    return [problem.code for problem in check_license(base_model, use_case, uses)]


def test_each_use_is_stopped_by_the_licenses_whose_text_bars_it_and_by_no_other() -> None:
    assert set(BARS) == set(LICENSES)
    for entry, use in product(CATALOG.values(), USES):
        found = refusal(entry.id, "summaries of maintenance logs", [use])
        assert ("license_bars_use" in found) is (use in BARS[entry.terms.id]), (entry.id, use)
        assert ("license_denied" in found) is (entry.terms.policy == "deny")
    assert refusal(LLAMA, "spare parts", ["weapons", "military", "commercial"]) == ["license_bars_use"] * 2


def test_a_license_has_its_text_what_it_asks_for_and_says_so_in_tags_of_azure() -> None:
    for text in LICENSES.values():
        assert text.obligations, text.id
        assert all(len(one) <= 256 for one in text.obligations), "Azure takes no longer value of a tag"
        assert bool(text.texts) is not text.own, text.id
        assert all(place.startswith("https://") for place in text.texts)
        assert all(re.fullmatch("[0-9a-f]{64}|", sha256) for sha256 in text.texts.values())
        read = all(text.texts.values()) or "not as Google's files: read them before" in text.obligations[0]
        assert text.policy == "deny" or not text.barred_uses or read, "what it bars was read"
    assert {entry.terms.id for entry in CATALOG.values()} == set(LICENSES)
    assert [text.id for text in LICENSES.values() if text.own] == [CATALOG["droptune/tiny-llama"].terms.id]


def test_an_unknown_model_is_refused_and_the_offered_ones_are_named() -> None:
    (problem,) = check_license("acme/gpt", "anything")
    assert problem.code == "unknown_base_model"
    assert "microsoft/Phi-4" in problem.message
    assert "Ministral" not in problem.message


def test_where_a_license_bars_uses_a_recipe_says_what_the_model_is_for() -> None:
    assert refusal(LLAMA, "  ", []) == refusal(LLAMA, "logs") == ["license_needs_use_case"]
    assert refusal(LLAMA, "summaries of maintenance logs", []) == []
    assert refusal("microsoft/Phi-4") == []


def test_a_model_is_offered_if_its_license_does_not_refuse_it() -> None:
    for entry in CATALOG.values():
        offered = bool(entry.asset and entry.architecture and entry.context_tokens and entry.parameters)
        assert offered is (entry.terms.policy != "deny"), entry.id


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
