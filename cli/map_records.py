"""`droptune map`: records of another system become rows to train on, by a mapping that is saved and reviewed."""

import json
import os
import re
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
import yaml

from cli.common import InputError, make_table
from cli.display import make_console
from cli.mapping import Left, Mapping, Record, mapped, read_mapping
from cli.sources import records_of

SAMPLE_CHARACTERS = 60
HELD_SHARE = 0.9  # of the rows; a summary or a code may stand in a prompt by right
STARTER = "droptune-mapping.yaml"


def map_records(
    source: Annotated[
        Path, typer.Argument(exists=True, readable=True, help="table, JSON, FHIR, HL7, fixed-width text; or a folder")
    ],
    mapping: Annotated[
        Path | None, typer.Option("--mapping", exists=True, dir_okay=False, help="the saved mapping, YAML")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", help="JSON Lines to write; without it a preview")] = None,
    preview: Annotated[int, typer.Option("--preview", min=1, max=50, help="rows to show")] = 3,
) -> None:
    """Make rows of SOURCE by a mapping. Without --mapping, show its columns and write one to fill in."""
    if mapping is None:
        _start(source)
    elif output is None:
        for row in _rows(source, read_mapping(mapping))[:preview]:
            print(json.dumps(row, indent=2, ensure_ascii=False))
        print(f"nothing written; add --output train.jsonl to write all of {source.name}", file=sys.stderr)
    else:
        _write(source, read_mapping(mapping), output)


def _start(source: Path) -> None:
    """Show the columns of the first records, and write a mapping that uses them."""
    form = _format_of(source)
    draft: Record = {"format": form, "prompt": "TODO", "answer": "TODO"}
    if form == "fixed_width":
        draft["columns"] = {"TODO": [1, 10]}
        records: list[Record] = []
    else:
        records = list(islice(records_of(source, Mapping.model_validate(draft)), 20))
    names = list(dict.fromkeys(name for record in records for name in record))
    table = make_table("column", "filled, of the first records", "for example")
    for name in names:
        values = [str(record[name]) for record in records if record.get(name) not in (None, "")]
        table.add_row(name, f"{len(values)} of {len(records)}", values[0][:SAMPLE_CHARACTERS] if values else "")
    make_console().print(table)
    path = Path(STARTER)
    if path.exists():
        print(f"{path} is there already and stays; give it with --mapping")
        return
    draft |= {"prompt": "".join(f"{name}: {{{{ {_reference(name)} }}}}\n" for name in names) or "TODO", "keep": {}}
    path.write_text(yaml.safe_dump(draft, sort_keys=False, allow_unicode=True), encoding="utf-8")
    print(f"{path} written: set answer, take its column out of prompt, then: droptune map {source} --mapping {path}")


def _reference(name: str) -> str:
    """How a template names a column: by its name, or through `record` where that is no identifier."""
    return name if name.isidentifier() else f"record[{name!r}]"


def _format_of(source: Path) -> str:
    """By the first bytes: HL7 begins with MSH, FHIR has resourceType, and a folder holds letters."""
    if source.is_dir():
        return "text"
    with source.open("rb") as file:
        head = file.read(4096)
    if re.match(rb"(?:\xef\xbb\xbf)?\x0b?(?:MSH|FHS|BHS)[^\w,;\t]", head):  # the fourth character divides its fields
        return "hl7"
    return "fhir" if b'"resourceType"' in head else "fixed_width" if _is_aligned(head) else "auto"


def _is_aligned(head: bytes) -> bool:
    """Lines of one length without a delimiter."""
    lines = head.splitlines()[:-1]
    return len(lines) > 1 and len({len(line) for line in lines}) == 1 and not any(mark in head for mark in b",;\t|{")


def _write(source: Path, mapping: Mapping, output: Path) -> None:
    """All or nothing: the file appears when every record is mapped or left out with its reason."""
    rows = _rows(source, mapping)
    partial = output.with_name(f"{output.name}.partial")
    try:
        partial.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    print(f"{len(rows)} rows written to {output}; check them: droptune validate {output}")


def _rows(source: Path, mapping: Mapping) -> list[Record]:
    """The rows, with a report of what was left out. Raises InputError where no row is left."""
    rows: list[Record] = []
    left: list[Left] = []
    for one in mapped(mapping, records_of(source, mapping)):
        if isinstance(one, Left):
            left.append(one)
        else:
            rows.append(one)
    first = {one.why: one.record for one in reversed(left)}
    for why, count in Counter(one.why for one in left).most_common():
        print(f"left out: {count} records, the first is number {first[why]}: {why}", file=sys.stderr)
    if not rows:
        raise InputError("no record gives a row, so nothing is written")
    turns = [[turn["content"] for turn in row["messages"]] for row in rows]
    if sum(answer in prompt for *_, prompt, answer in turns) >= HELD_SHARE * len(turns):
        print("the answer stands in the prompt: take its column out of the prompt", file=sys.stderr)
    return rows
