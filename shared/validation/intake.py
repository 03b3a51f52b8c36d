"""A file as it comes: which container, which format, and its rows as lines of JSON."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, product
from typing import Any, Literal

from shared.validation import tables
from shared.validation.columns import PARQUET, are_columns
from shared.validation.containers import HEAD_BYTES, START_BYTES, is_office, read_text, with_head
from shared.validation.conversions import AS_TEXT
from shared.validation.formats import BESIDE, CHAT, KNOWN_NAMES, Format, by_names, chosen, detect, rename, renamed
from shared.validation.json_values import holds_values, is_turn, mapped, may_be_wrapped, read_values, unwrap
from shared.validation.lines import UTF8_MARK, Line, Unreadable, split_lines
from shared.validation.marks import is_verdict, plain_name
from shared.validation.names import Refused, shown
from shared.validation.setting_errors import nearest_name
from shared.validation.strict import loaded
from shared.validation.tables import Note
from shared.validation.turns import Source
from shared.validation.workbooks import open_workbook

_SAMPLE_ROWS = 20
_SAMPLE_BYTES = _PIECE_BYTES = 2**20
_FIRST_BYTES = 2**16  # what has no line break in it may be one object around all rows
_NAMES_SHOWN = 20
_AUTO = "auto"
# What exports call the turns of a row (WildChat, old ShareGPT, LangSmith, Gemini, Cohere).
_DIALOGUES = ("conversation", "items", "dialogue", "dialog", "turns", "contents", "chat_history", "data")
Container = Literal["jsonl", "json", "csv", "xlsx", "parquet", "arrow"]


@dataclass(frozen=True, slots=True)
class ExpectedRows:
    """What a recipe says of its rows. `format`: a name or `auto`. `columns`: field of the file -> its known name.
    `prompts`: they are for reinforcement. `table`: the file is named as one. `encoding`: where it is not Unicode."""

    format: str = _AUTO
    columns: Mapping[str, str] = field(default_factory=dict)
    prompts: bool = False
    table: bool = False
    encoding: str = ""


@dataclass(frozen=True, slots=True)
class Intake:
    """`form` is None if no row has a known shape; iterating `lines` may raise Unreadable. `missing`: columns that the
    recipe names and no row has. `found`: fields of the first rows, as they may be shown; `verdicts`: those that only
    accept or reject; `misspelled`: known names that others stand for. `other`: the format of the rows where it is not
    the recipe's, or they are dialogues as text."""

    form: Format | None
    container: Container
    lines: Iterator[Line]
    found: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    verdicts: frozenset[str] = frozenset()
    misspelled: Mapping[str, str] = field(default_factory=dict)
    other: str = ""


def open_rows(chunks: Iterable[bytes], expected: ExpectedRows = ExpectedRows(), note: Note = lambda *_: None) -> Intake:
    """Look at the first rows, and give them back with all others. By its first bytes a file is a workbook, an array or
    JSON Lines; else CSV by its name, a first line of known columns, or lines of as many cells. `note` takes what is
    found."""
    source = with_head(chunks, START_BYTES)
    start = next(source, b"")
    if is_office(start):
        try:
            found, rows = open_workbook(chain([start], source), note, lambda names: _is_header(names, expected))
        except Unreadable as error:
            return Intake(None, "xlsx", _raising(error))
        return _intake("xlsx", [dict.fromkeys(found)] if found else [], rows, expected)
    text = with_head(read_text(chain([start], source), expected.encoding), _FIRST_BYTES)
    try:
        first = next(text, b"")
    except Unreadable as error:
        return Intake(None, "jsonl", _raising(error))
    marked = len(UTF8_MARK) if first.startswith(UTF8_MARK) else 0
    first = first[marked:]
    is_values, is_object = holds_values(first[:HEAD_BYTES]), may_be_wrapped(first)
    if is_values or is_object:
        try:
            whole = mapped(chain([first], text))
            any_format = replace(expected, format=_AUTO)
            wrapped = unwrap(whole, marked, lambda row: _format([row], any_format) is not None) if is_object else None
        except Unreadable as error:
            return Intake(None, "json", _raising(error))
        pieces = (whole[at : at + _PIECE_BYTES] for at in range(0, len(whole), _PIECE_BYTES))
        rows = read_values(whole, offset=marked) if is_values else split_lines(pieces, marked)
        if wrapped is not None:
            for name in wrapped.needed:
                note("passage_not_read", None, 0, name)
            if wrapped.others:
                note("wrapper_fields_unread", None, 0, f"{wrapped.path}; not read: {', '.join(wrapped.others)}")
            rows, is_values = wrapped.lines, True
    else:
        rows = split_lines(chain([first], text), marked)
    lines, rows = _peeked(rows)
    table = None if is_values or not lines else _table(lines, expected)
    if table is not None:
        dialect, columns = table
        if dialect.words:  # of the header, which is not UTF-8
            note("encoding_guessed", None, 0, f"{dialect.encoding}: {dialect.words}")
        records = tables.read_table(rows, dialect, note, columns)
        return _intake("csv", [dict.fromkeys(columns)], records, expected)
    if lines and not is_values and not any(map(_may_be_json, lines)):
        return Intake(None, "jsonl", _raising(Unreadable("no_rows")))
    sources = [source for line in lines if type(source := loaded(line)) is dict]
    container: Container = "parquet" if start.startswith(PARQUET) else "arrow" if are_columns(start) else "jsonl"
    return _intake("json" if is_values else container, sources, rows, expected)


def _intake(container: Container, sources: Sequence[Source], lines: Iterator[Line], expected: ExpectedRows) -> Intake:
    names = list(dict.fromkeys(name for source in sources for name in source))
    found = tuple(dict.fromkeys(map(shown, names[:_NAMES_SHOWN])))
    missing = tuple(name for name in expected.columns if sources and name not in names)
    verdicts = frozenset(name for name in names if is_verdict(name, (source.get(name) for source in sources)))
    form, misspelled = _format(sources, expected), {} if expected.columns else _misspelled(names, sources)
    question = _question(form)
    if form and misspelled and (form.kind == "text" or question in ("input", "user")):  # which may be beside a question
        form = form if question == _question(_format([rename(row, misspelled) for row in sources], expected)) else None
    other = _format(sources, replace(expected, format=_AUTO)) if form is None else None
    own = next(iter(form.mapping)) if form is not None and form.kind == "text" else ""
    if own:  # of a table the header alone was looked at
        first, lines = _peeked(lines)
        rows = [*map(loaded, first)]
        if 2 * sum(type(row) is dict and AS_TEXT.search(str(row.get(own))) is not None for row in rows) > len(rows):
            other = CHAT
    return Intake(form, container, lines, found, missing, verdicts, misspelled, other.name if other else "")


def _misspelled(names: Sequence[str], sources: Sequence[Source]) -> dict[str, str]:
    """Fields with the known name each most likely stands for: none for one of more words, as `prompt_id`."""
    known = KNOWN_NAMES - set(map(plain_name, names))
    texts = known - {"messages", "conversations"}
    others = {name: _first_of(name, sources) for name in names if plain_name(name) not in KNOWN_NAMES}
    near = {name: nearest_name(name, texts if type(one) in (int, str) else known) for name, one in others.items()}
    found = {name: meant for name, meant in near.items() if meant and plain_name(name).count("_") <= meant.count("_")}
    times = Counter(found.values())  # response_0 and response_1 are not both `response`
    return {name: meant for name, meant in found.items() if times[meant] == 1}


def _question(form: Format | None) -> str:
    """The plain name of the field that is the question, empty if none is."""
    return next((plain_name(name) for name, part in form.mapping.items() if part == "user"), "") if form else ""


def _format(sources: Sequence[Source], expected: ExpectedRows) -> Format | None:
    """By the names as the recipe maps them; else, if no row is known by them, whatever their case and blanks. What
    stands beside the question is known in any case. Fields that are null count only where no row is known else."""
    fields = set(chain.from_iterable(sources))
    meant = {known for own, known in expected.columns.items() if own in fields}
    normalized = {own: known for own, known in _normalized(sources).items() if known not in meant}
    named = (dict(expected.columns), {**normalized, **expected.columns})

    def form_of(given: Sequence[Source], columns: dict[str, str]) -> Format | None:
        try:
            known = [rename(source, columns, meant) for source in given]
        except Refused:
            known = list(given)
        if expected.format != _AUTO:
            return chosen(expected.format, known)
        return detect(known, prompts=expected.prompts)

    for given, columns in product((sources, by_names(sources)), named):
        form = form_of(given, columns)
        if form is None:
            continue
        beside = {own: known for own, known in normalized.items() if known in BESIDE and known not in columns.values()}
        wider = form_of(given, {**columns, **beside}) if beside else None
        if wider is not None:
            form, read = wider, {own: known for own, known in beside.items() if known in wider.mapping}
            columns = {**columns, **read}
        return renamed(form, columns, meant)
    return None


def _normalized(sources: Sequence[Source]) -> dict[str, str]:
    """`Prompt` -> `prompt`, and `conversation` of turns -> `conversations`, where no field has that name already."""
    names = dict.fromkeys(name for source in sources for name in source)
    normalized = {name: plain_name(name) for name in names}
    for name, known in normalized.items():
        if known in _DIALOGUES and type(value := _first_of(name, sources)) is list and any(map(is_turn, value)):
            normalized[name] = "conversations"
            break
    of_known = {known: name for name, known in reversed(normalized.items())}  # the first, where several mean the same
    return {name: known for known, name in of_known.items() if known in KNOWN_NAMES and known not in names}


def _first_of(name: str, sources: Sequence[Source]) -> Any:
    return next((source[name] for source in sources if source.get(name) is not None), None)


def _table(lines: Sequence[bytes], expected: ExpectedRows) -> tuple[tables.Dialect, list[str]] | None:
    """How the file is a table, and its columns, which may be empty; None if it is no table."""
    if _may_be_json(lines[0]):
        return None
    found, below = tables.dialects(lines, expected.columns)
    records = [tables.first_records(below[: tables.HEADER_ROWS], dialect) for dialect in found]
    for row in zip(*records, strict=False):
        for dialect, record in zip(found, row, strict=True):
            columns = tables.columns_of(record.cells, dialect)
            if _is_header(columns, expected):
                return tables.settled(dialect, record), columns
    alike = [n for n, dialect in enumerate(found) if tables.looks_like_table(records[n], dialect)]
    if alike or expected.table or len(found) == 1:
        dialect, record = found[n := (alike or [0])[0]], records[n][0]
        return tables.settled(dialect, record), tables.columns_of(record.cells, dialect)
    return None


def _is_header(names: Sequence[str], expected: ExpectedRows) -> bool:
    """Whether these are columns of a known format, as the recipe names them."""
    if not names or expected.format != _AUTO:
        return not KNOWN_NAMES.isdisjoint(names)
    return _format([dict.fromkeys(names)], expected) is not None


def _may_be_json(line: bytes) -> bool:
    return line.lstrip().startswith((b"{", b"[")) or loaded(line) is not None or line.strip() == b"null"


def _peeked(lines: Iterator[Line]) -> tuple[list[bytes], Iterator[Line]]:
    """The first lines that are neither blank nor refused, and all lines, in whose turn is raised what they raised."""
    head: list[Line] = []
    found: list[bytes] = []
    size = 0
    try:
        while len(found) < _SAMPLE_ROWS and size < _SAMPLE_BYTES:
            head.append(next(lines))
            line = head[-1][2]
            size += len(line)
            if isinstance(line, bytes) and line.strip():
                found.append(line)
    except StopIteration:
        pass
    except Unreadable as error:
        lines = _raising(error)
    return found, chain(head, lines)


def _raising(error: Unreadable) -> Iterator[Line]:
    raise error
    yield  # makes it a generator
