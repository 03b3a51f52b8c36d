"""base-models list: one line for each model, whether it may be tuned and whether it was imported."""

from __future__ import annotations

import pytest

from cli.display import make_console
from cli.operate import base_models_table
from shared.api.models import BaseModelSummary


@pytest.mark.parametrize(
    ("policy", "sha256", "shown"),
    [
        ("allow", None, "yes not imported"),
        ("review", "0123456789abcdef", "after a review 0123456789ab"),
        ("deny", None, "no not imported"),
    ],
)
def test_the_list_says_whether_a_model_may_be_tuned_and_was_imported(
    capsys: pytest.CaptureFixture[str], policy: str, sha256: str | None, shown: str
) -> None:
    one = BaseModelSummary.model_validate(
        {
            "id": "lab/model-[red]",
            "license": "mit",
            "license_policy": policy,
            "obligations": (),
            "asset": None,
            "tokenizer_sha256": sha256,
        }
    )
    make_console().print(base_models_table([one]))
    _, line = capsys.readouterr().out.splitlines()
    assert line.split() == ["lab/model-[red]", "mit", *shown.split()]
