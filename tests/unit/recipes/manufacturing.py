"""The files of the recipe manufacturing."""

from __future__ import annotations

import json
from typing import Any

from tests.paths import ROOT

FOLDER = ROOT / "recipes" / "manufacturing"


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / name).read_text(encoding="utf-8").splitlines()]
