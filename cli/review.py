"""`droptune review`: an expert accepts, corrects or rejects rows before they are trained on."""

import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import orjson
import typer

from cli.common import Exit, InputError
from cli.expert_page import SKIPPED, ExpertDecision, Port, Sample, Task, content_hash, read_decisions, sampled, serve
from cli.sources import lines_of
from shared.domain.prompts import Prompt, Row, as_dialogue, prompt_of, reference_index
from shared.validation.formats import Format
from shared.validation.rows import read_row

ACCEPTED, CORRECTED, REJECTED = "accepted", "corrected", "rejected"
SUFFIX, UNREVIEWED, DISPUTED = ".review.jsonl", "unreviewed", "disputed"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


class ReviewRow(NamedTuple):
    """A row of the file: its bytes, and as the pipeline reads it."""

    number: int
    line: bytes
    form: Format
    document: Row
    id: str


def review(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="rows to train on")],
    reviewer: Annotated[
        str | None, typer.Option("--reviewer", help="your name, else that of the login; with --apply only this one's")
    ] = None,
    sample: Sample = None,
    output: Annotated[Path | None, typer.Option("--apply", help="write accepted and corrected rows")] = None,
    keep: Annotated[bool, typer.Option("--keep-unreviewed", help="write rows without a decision too")] = False,
    port: Port = 0,
) -> None:
    """Show the rows of FILE on a page of this machine, to accept, correct or reject.

    Each decision is appended to FILE.review.jsonl at once; a second start goes on where the first ended.
    """
    if output is None:
        serve(review_task(file, reviewer or getuser(), sample), port)
    else:
        _apply(file, output, reviewer, {ACCEPTED, CORRECTED, *([UNREVIEWED] if keep else [])})


def review_task(file: Path, reviewer: str, sample: int | None) -> Task:
    rows = sampled({row.id: row for row in _rows(file)}, sample)

    def check(given: ExpertDecision) -> ExpertDecision:
        if given.decision == CORRECTED and given.answer == _shown(rows[given.row].document)["content"]:
            return ExpertDecision(row=given.row, decision=ACCEPTED)
        if given.decision == CORRECTED and given.answer is not None:
            corrected(rows[given.row], given.answer)
        elif given.decision != ACCEPTED and not (given.decision == REJECTED and (given.reason or "").strip()):
            raise InputError("a rejection needs a reason, a correction an answer")
        return given

    return Task(rows, lambda row: _shown(rows[row].document), check, file.with_suffix(SUFFIX), reviewer)


def _rows(file: Path) -> Iterator[ReviewRow]:
    for number, line, form in lines_of(file):
        row, codes = read_row(line, form)
        if row is None:
            why = ", ".join(code.partition("|")[0] for code in codes)
            raise InputError(f"row {number}: {why}; `droptune validate {file}` says more")
        content = orjson.loads(line)
        # An object over several lines becomes one of JSON Lines.
        line = json.dumps(content, ensure_ascii=False).encode() if b"\n" in line else line
        yield ReviewRow(number, line, form, row.document, content_hash(content))


def _answer_place(document: Row) -> tuple[Row, str]:
    """The object of the document that holds the answer, and its key; a prompt has an empty one."""
    if "text" in document:
        return document, "text"
    dialogue = as_dialogue(document)
    index = reference_index(dialogue)
    return ({}, "content") if index is None else (dialogue["messages"][index], "content")


def _shown(document: Row) -> dict[str, Any]:
    place, key = _answer_place(document)
    messages = [] if key == "text" else prompt_of(document).messages
    beside = {name: document[name] for name in ("tools", "non_preferred_output") if document.get(name)}
    return {
        "prompt": [{"role": one["role"], "text": Prompt([one]).conversation()} for one in messages],
        "answer": place[key] if key == "text" else Prompt([place]).conversation(),  # calls of tools too
        "content": place.get(key) or "",
        "fields": {**document.get("item", {}), **beside},
    }


def corrected(row: ReviewRow, answer: str | None) -> bytes:
    """The row's bytes with another answer and no other change. Raises InputError if it would not be read as that."""
    expected = orjson.loads(orjson.dumps(row.document))
    place, key = _answer_place(expected)
    before = place.get(key)
    place[key] = answer
    for match in _STRING.finditer(row.line):
        if json.loads(match[0]) == before:
            line = row.line[: match.start()] + json.dumps(answer, ensure_ascii=False).encode() + row.line[match.end() :]
            found, _ = read_row(line, row.form)
            if found is not None and found.document == expected:
                return line
    raise InputError(f"row {row.number}: this answer cannot be put into the row; accept it, or reject it with a reason")


def _apply(file: Path, output: Path, reviewer: str | None, kept: set[str]) -> None:
    """All or nothing: the file appears when every row is written."""
    if output.resolve() in (file.resolve(), file.with_suffix(SUFFIX).resolve()):
        raise InputError("write to another file: this one has the decisions, or the rows whose content finds them")
    by_row: defaultdict[str, list[ExpertDecision]] = defaultdict(list)
    for one in read_decisions(file.with_suffix(SUFFIX)):
        if one.decision != SKIPPED and reviewer in (None, one.reviewer):
            by_row[one.row].append(one)
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    lines, gone = [], set(by_row)
    for row in _rows(file):
        gone.discard(row.id)
        decisions = {(one.decision, one.answer) for one in by_row[row.id]} or {(UNREVIEWED, None)}
        decision, answer = (DISPUTED, None) if len(decisions) > 1 else decisions.pop()
        numbers[decision].append(row.number)
        if decision in kept:
            lines.append(corrected(row, answer) if decision == CORRECTED else row.line)
    partial = output.with_name(f"{output.name}.partial")
    partial.write_bytes(b"".join(line + b"\n" for line in lines))
    os.replace(partial, output)
    print(f"{len(lines)} rows written to {output}")
    for decision, found in numbers.items():
        print(f"{len(found)} {decision}{'' if decision in kept else f', left out; the first is row {found[0]}'}")
    if gone:
        print(f"{len(gone)} decisions are for rows that are no longer in {file.name}", file=sys.stderr)
    if not lines:
        raise typer.Exit(Exit.REFUSED)
