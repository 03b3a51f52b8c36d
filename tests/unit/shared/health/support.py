"""What the checks of `doctor` say, and base models as an import leaves them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shared.api.models import Check, CheckStatus
from shared.domain.catalog import find_entry
from shared.health.doctor import examine
from shared.ports import Services
from shared.rendering.bundle import export_bundle
from shared.services import services
from tests.unit.training_job.tiny_folder import write_folder
from training_job.import_base import write_bundle

OK, FIX, SKIPPED = CheckStatus.OK, CheckStatus.FIX, CheckStatus.SKIPPED
TINY = "droptune/tiny-llama"
PHI = "microsoft/Phi-4"
IMPORT = "droptune base-models import {}"


def found(build: Callable[[], Services] = services) -> dict[str, Check]:
    checks = examine(build)
    assert all(bool(check.fix) == (check.status is FIX) for check in checks)
    return {check.name: check for check in checks}


def base_model(app: Path) -> Path:
    """The tiny base where jobs look for it."""
    return write_folder(app / "blobs" / "models" / "tiny-llama")


def bundle(app: Path, base: Path, id: str = TINY) -> Path:
    """The tokenizer bundle of a model as an import leaves it."""
    place = app / "blobs" / "models" / id / "tokenizer"
    write_bundle(export_bundle(find_entry(id), base), place)
    return place
