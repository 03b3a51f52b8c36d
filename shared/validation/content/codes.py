"""Every problem the content scan can report."""

from __future__ import annotations

from pathlib import Path

from shared.domain.findings import read_codes

CONTENT_CODES = read_codes(Path(__file__).with_suffix(".toml"))
