"""docs/validation.md lists exactly the codes there are. UPDATE_GOLDEN=1 writes the table anew."""

from __future__ import annotations

import os
from pathlib import Path

from shared.validation.codes import CODES

DOC = Path(__file__).resolve().parents[2] / "docs/validation.md"
START = "| code | severity | what it means | what to do |\n|---|---|---|---|\n"


def test_the_documented_codes_are_the_codes_with_their_severity_and_words() -> None:
    lines = [
        f"| `{name}` | {code.severity} | {code.message.replace('{detail}', '…')} | {code.fix} |\n"
        for name, code in CODES.items()
    ]
    table = START + "".join(lines)
    text = DOC.read_text(encoding="utf-8")
    head, _, rest = text.partition(START)
    tail = rest[rest.index("\n\n") :] if "\n\n" in rest else ""
    if os.environ.get("UPDATE_GOLDEN"):
        DOC.write_text(head + table.rstrip("\n") + tail, encoding="utf-8")
    assert table.rstrip("\n") in DOC.read_text(encoding="utf-8")
