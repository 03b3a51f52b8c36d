"""docs/validation-content.md lists exactly the codes there are. UPDATE_GOLDEN=1 writes the table anew."""

from __future__ import annotations

import os
from pathlib import Path

from shared.validation.content.codes import CONTENT_CODES

DOC = Path(__file__).resolve().parents[3] / "docs/validation-content.md"
START = "| code | severity | what it means | what to do |\n|---|---|---|---|\n"


def test_the_documented_codes_are_the_codes_with_their_severity_and_words() -> None:
    lines = [
        f"| `{name}` | {code.severity} | {code.message.replace('{detail}', '…')} | {code.fix} |\n"
        for name, code in CONTENT_CODES.items()
    ]
    table = START + "".join(lines)
    if os.environ.get("UPDATE_GOLDEN"):
        head, _, rest = DOC.read_text(encoding="utf-8").partition(START)
        DOC.write_text(head + table + rest[rest.index("\n| what |") if "\n| what |" in rest else 0 :], encoding="utf-8")
    assert table in DOC.read_text(encoding="utf-8")
