"""Checks of base models are seen to pass and to fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from shared.domain.catalog import CATALOG
from tests.unit.shared.health.support import FIX, IMPORT, OK, PHI, SKIPPED, TINY, base_model, bundle, found
from tests.unit.shared.rendering import families


@pytest.mark.usefixtures("azure_ml")
def test_the_default_base_model_must_be_there(app: Path) -> None:
    check = found()[f"base model {TINY}"]
    assert check.status is FIX
    assert "models/tiny-llama/ lacks config.json, tokenizer.json, *.safetensors, a chat template" in check.detail


@pytest.mark.usefixtures("azure_ml")
def test_another_base_model_that_is_not_there_is_nothing_to_fix(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAULT_BASE_MODEL", "microsoft/Phi-4")
    assert found()[f"base model {TINY}"].status is SKIPPED


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja"])
@pytest.mark.usefixtures("azure_ml")
def test_half_a_base_model_is_to_be_fixed(app: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setenv("DEFAULT_BASE_MODEL", PHI)
    (base_model(app) / missing).unlink()
    assert found()[f"base model {TINY}"].status is FIX


@pytest.mark.usefixtures("azure_ml")
def test_a_default_base_model_that_was_not_imported_is_to_be_imported(app: Path) -> None:
    base_model(app)
    checks = found()
    assert (checks[f"template {TINY}"].status, checks[f"template {TINY}"].fix) == (FIX, IMPORT.format(TINY))
    assert checks[f"template {PHI}"].status is SKIPPED


@pytest.mark.usefixtures("azure_ml")
def test_an_imported_model_of_a_registry_is_ready(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEFAULT_BASE_MODEL", PHI)
    assert found()[f"template {PHI}"].fix == IMPORT.format(PHI)
    bundle(app, base_model(app), PHI)
    check = found()[f"template {PHI}"]
    assert (check.status, check.detail) == (OK, f"imported from {CATALOG[PHI].asset}")


@pytest.mark.usefixtures("azure_ml")
def test_a_tokenizer_bundle_must_be_the_base_models(app: Path) -> None:
    base = base_model(app)
    bundle(app, base)
    assert found()[f"template {TINY}"].status is OK
    (base / "chat_template.jinja").write_text(families.template("phi", marked=True))
    check = found()[f"template {TINY}"]
    assert check.status is FIX
    assert check.detail.startswith("tokenizer or chat template differ: ")
    shutil.rmtree(base)
    assert found()[f"template {TINY}"].status is SKIPPED


@pytest.mark.usefixtures("azure_ml")
def test_a_damaged_tokenizer_bundle_is_to_be_imported_again(app: Path) -> None:
    place = bundle(app, base_model(app))
    (place / "chat_template.jinja").write_text("another")
    check = found()[f"template {TINY}"]
    assert (check.status, check.fix) == (FIX, IMPORT.format(TINY))
    assert "chat_template.jinja" in check.detail
