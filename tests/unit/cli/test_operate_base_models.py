"""base-models list: one line for each model, whether it may be tuned and whether it was imported."""

from __future__ import annotations

import pytest

from cli.display import make_console
from cli.operate import base_models_table, license_text
from shared.api.models import BaseModelDetail, BaseModelSummary


@pytest.mark.parametrize(
    ("policy", "sha256", "shown"),
    [
        ("allow", None, "yes not imported"),
        ("review", "0123456789abcdef", "once its license is accepted 0123456789ab"),
        ("deny", None, "no not imported"),
    ],
)
def test_the_list_says_whether_a_model_may_be_tuned_and_was_imported(
    capsys: pytest.CaptureFixture[str], policy: str, sha256: str | None, shown: str
) -> None:
    one = BaseModelSummary.model_validate(
        {
            "id": "lab/model-[red]",
            "terms": {"id": "mit", "policy": policy, "obligations": ["Keep it."]},
            "asset": None,
            "tokenizer_sha256": sha256,
        }
    )
    make_console().print(base_models_table([one]))
    _, line = capsys.readouterr().out.splitlines()
    assert line.split() == ["lab/model-[red]", "mit", *shown.split()]


DETAIL = {
    "id": "lab/model",
    "asset": None,
    "terms": {
        "id": "LicenseRef-a",
        "policy": "review",
        "texts": {"https://a.example/": "", "https://b.example/": "1" * 64},
        "barred_uses": ["military"],
        "obligations": ["Show it."],
    },
    "terms_sha256": "2" * 64,
    "decisions": [
        {
            "base_model": "lab/model",
            "accepted": False,
            "terms_sha256": "0" * 64,
            "by": "ada",
            "by_id": "object-1",
            "at": "2026-01-02T03:04:05Z",
            "comment": "our lawyers",
        }
    ],
    "review_problem": {"code": "license_review", "message": "it was refused", "param": "base_model"},
}


def test_a_license_is_shown_with_what_it_asks_for_and_bars_and_who_decided() -> None:
    assert license_text(BaseModelDetail.model_validate(DETAIL)).splitlines() == [
        f"lab/model, license LicenseRef-a, hash of its terms {'2' * 64}",
        "  text: https://a.example/ (SHA-256 not known)",
        f"  text: https://b.example/ (SHA-256 {'1' * 64})",
        "  asks for: Show it.",
        "  bars military: military, nuclear or intelligence applications, arms control included",
        "refused by ada, 2026-01-02: our lawyers",
        "it was refused",
    ]
