"""A saved mapping: how records of another system become rows to train on."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from itertools import chain, groupby
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cli.common import InputError

Record = dict[str, Any]
SourceFormat = Literal["auto", "fixed_width", "fhir", "hl7", "text", "paragraphs"]


class History(BaseModel):
    """Records of one thing by time, for templates that look back or ahead: `history` and `ahead` are lists of records.
    A record whose time is too near the ends of the file to see all of both is left out."""

    model_config = ConfigDict(extra="forbid")

    by: str = Field(description="column that names the thing, for example the asset")
    time: str = Field(description="column of the time")
    time_format: str = Field(default="", description="as for strptime; empty: ISO 8601")
    days: int = Field(default=365, ge=1, description="days before the record that `history` has")
    ahead_days: int = Field(default=0, ge=0, description="days after it that `ahead` has")


class Mapping(BaseModel):
    """What `droptune map` reads. Texts are Jinja templates of a record's columns."""

    model_config = ConfigDict(extra="forbid")

    format: SourceFormat = Field(default="auto", description="auto: a table, JSON or JSON Lines, by content")
    columns: dict[str, tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]] = Field(
        default={}, description="of fixed_width: name -> first and last character, from 1"
    )
    divider: str = Field(default="", description="of text: the line between a letter's question and its answer")
    system: str = ""
    prompt: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    keep: dict[str, str] = Field(default={}, description="further fields of the row: for graders, slices and groups")
    require: tuple[str, ...] = Field(default=(), description="columns without which a record is left out")
    history: History | None = None


class Left(BaseModel):
    """A record that gave no row, by its number from 1, and why."""

    record: int
    why: str


def read_mapping(path: Path) -> Mapping:
    """Raises InputError with every mistake of the file."""
    try:
        return Mapping.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except yaml.YAMLError as error:
        raise InputError(f"{path.name} is not YAML: {error}") from error
    except ValueError as error:
        problems = [
            f"{'.'.join(map(str, one['loc'])) or 'mapping'}: {one['msg']}"
            for one in (error.errors() if isinstance(error, ValidationError) else [])
        ]
        raise InputError(f"{path.name}: {'; '.join(problems) or error}") from error


def mapped(mapping: Mapping, records: Iterable[Record]) -> Iterator[Record | Left]:
    """The rows, in order; a record without one as Left. Raises InputError for a column that no record has."""
    if unset := [name for name in ("prompt", "answer") if getattr(mapping, name).strip() == "TODO"]:
        raise InputError(f"the mapping's {' and '.join(unset)} is still TODO")
    if "messages" in mapping.keep:
        raise InputError("keep: messages are what prompt and answer make; take another name")
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    texts = {"system": mapping.system, "prompt": mapping.prompt, "answer": mapping.answer}
    try:
        turns = {name: environment.from_string(text) for name, text in texts.items() if text}
        kept = {name: environment.from_string(text) for name, text in mapping.keep.items()}
    except TemplateError as error:
        raise InputError(f"a template cannot be read: {error}") from error
    records = list(records)
    known = dict.fromkeys(chain.from_iterable(records), "")  # a column that another record has is empty in one without
    for number, record in _with_history(mapping.history, records):
        if isinstance(record, str):
            yield Left(record=number, why=record)
            continue
        if missing := [name for name in mapping.require if not str(record.get(name) or "").strip()]:
            yield Left(record=number, why=f"no {', '.join(missing)}")
            continue
        record = known | record
        try:
            filled = {name: form.render(record, record=record).strip() for name, form in turns.items()}
            beside = {name: form.render(record, record=record).strip() for name, form in kept.items()}
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise InputError(f"record {number}: {error}; the columns are {', '.join(sorted(record))}") from error
        if empty := [name for name in ("prompt", "answer") if not filled[name]]:
            yield Left(record=number, why=f"the {' and the '.join(empty)} would be empty")
            continue
        roles = {"system": "system", "prompt": "user", "answer": "assistant"}
        messages = [{"role": roles[name], "content": text} for name, text in filled.items() if text]
        yield {"messages": messages, **beside}


def _with_history(history: History | None, records: Iterable[Record]) -> Iterator[tuple[int, Record | str]]:
    """Number of each record, and it with `history` and `ahead`, or why it cannot have them; by thing and time."""
    if history is None:
        yield from enumerate(records, start=1)
        return
    dated: list[tuple[str, datetime, int, Record]] = []
    for number, record in enumerate(records, start=1):
        when = _time(record.get(history.time), history.time_format)
        if when is None:
            yield number, f"no time in {history.time}: see history.time_format"
        else:
            dated.append((str(record.get(history.by)), when, number, record))
    dated.sort(key=lambda entry: entry[:3])
    if not dated:
        return
    first, last = min(when for _, when, _, _ in dated), max(when for _, when, _, _ in dated)
    for _, group in groupby(dated, key=lambda entry: entry[0]):
        entries = list(group)
        times, records = [when for _, when, _, _ in entries], [record for _, _, _, record in entries]
        for _, when, number, record in entries:
            start, end = when - timedelta(history.days), when + timedelta(history.ahead_days)
            if start < first or end > last:
                yield number, "the file does not reach far enough back or ahead"
                continue
            seen = records[bisect_left(times, start) : bisect_left(times, when)]
            ahead = records[bisect_right(times, when) : bisect_right(times, end)]
            yield number, record | {"history": seen, "ahead": ahead}


def _time(value: Any, form: str) -> datetime | None:
    text = str(value or "").strip()
    try:
        when = datetime.strptime(text, form) if form else datetime.fromisoformat(text)  # noqa: DTZ007 local times
    except ValueError:
        return None
    return when.replace(tzinfo=None)
