"""The model card says what the base's license asks for and bars, and the license's files go with the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from training_job.job.setup import Setup
from training_job.model.artifacts import write_card

LLAMA = {"base_model": "meta-llama/Llama-3.1-8B-Instruct", "use_case": "claims", "intended_uses": ["commercial"]}


@pytest.mark.parametrize(
    ("recipe", "license", "says"),
    [
        (LLAMA, "other", ['- Ship the agreement and the NOTICE text, and show "Built with Llama".', "- commercial"]),
        ({"base_model": "microsoft/Phi-4"}, "mit", ["- nothing"]),
    ],
)
def test_a_model_has_a_card_and_the_license_files_of_its_base(
    recipe: dict[str, Any], license: str, says: list[str], resolved: Any, tokenizer: Any, tmp_path: Path
) -> None:
    base, merged = tmp_path / "base", tmp_path / "model" / "merged"
    base.mkdir()
    merged.mkdir(parents=True)
    for name in ("LICENSE", "Notice.txt", "USE_POLICY.md", "README.md", "licensed.json"):
        (base / name).write_text(name)
    write_card(Setup(base, tmp_path, resolved(recipe), tokenizer, 20, 4), "v1")
    assert {file.name for file in merged.iterdir()} == {"LICENSE", "Notice.txt", "USE_POLICY.md", "README.md"}
    _, head, body = (merged / "README.md").read_text().split("---\n")
    data = yaml.safe_load(head)
    assert (data["license"], data["base_model"]) == (license, recipe["base_model"])
    assert data.get("license_link") == ("LICENSE" if license == "other" else None)
    assert [line for line in says if line not in body.splitlines()] == []
    assert ("- military: " in body) is (license == "other")
