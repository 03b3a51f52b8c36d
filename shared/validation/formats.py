"""The shapes tuning data comes in, known by their keys, and converted to one: OpenAI's, Alpaca, Dolly, ShareGPT and
pairs as LLaMA-Factory describes them (`data/README.md`), and those of TRL."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any, NamedTuple

from shared.domain.beside import read_beside
from shared.validation import conversions
from shared.validation.conversions import ANSWER_FIELDS, CONTEXT, OUTPUTS, PROMPT_FIELDS, SYSTEM
from shared.validation.names import EMPTY, Refused
from shared.validation.turns import Source


class Format(NamedTuple):
    """`convert` gives the row in the shape of its kind, or raises Refused; it may change its argument."""

    name: str
    kind: str  # the canonical form: chat, preference, reinforcement or text
    mapping: dict[str, str]  # field of the file -> what it becomes
    convert: Callable[[Source], Source]
    renames: bool = False  # its fields have other names in the file


def detect(sources: Sequence[Source], *, prompts: bool = False) -> Format | None:
    """The shape most rows have, with the mapping of the fields they hold. `prompts`: rows are for reinforcement."""
    shapes = [shape for source in sources if (shape := shape_of(source, prompts=prompts))]
    if not shapes:
        return None
    most = Counter(_shape_key(shape) for shape in shapes).most_common(1)[0][0]
    form = next(shape for shape in shapes if _shape_key(shape) == most)
    return _of_fields(form, sources)


def chosen(name: str, sources: Sequence[Source]) -> Format | None:
    """The format a recipe names, with the pair of fields that the file has; None if no row can be read so."""
    rows = (*sources, *by_names(sources))
    shapes = [shape_of(source, prompts=name == "reinforcement") for source in rows]
    matching = [shape for shape in shapes if shape is not None and shape.name == name]
    form = matching[0] if matching else FORMATS[name]
    return _of_fields(form, sources) if matching or any(_reads(form, source) for source in rows) else None


def _reads(form: Format, source: Source) -> bool:
    try:
        form.convert({**source})
    except Refused as refused:
        return refused.code.partition("|")[0] not in ("mixed_formats", "missing_field", "mixed_names")
    return form.name != "chat" or "messages" in source


def by_names(sources: Sequence[Source]) -> list[Source]:
    """Rows with the same fields, none of them null."""
    return [dict.fromkeys(source, "") for source in sources]


def renamed(form: Format, columns: dict[str, str], meant: Collection[str] = ()) -> Format:
    """The same for rows with other names. `columns`: field -> known name; `meant`: those the recipe gives."""
    if not columns:
        return form

    names = {known: own for own, known in columns.items()}

    def convert(source: Source) -> Source:
        known = rename(source, columns, meant)
        try:
            made = form.convert(known)
            return {names[name] if name in _BACK and name in meant else name: value for name, value in made.items()}
        except Refused as refused:
            code, _, detail = refused.code.partition("|")
            raise Refused(f"{code}|{_KNOWN.sub(lambda name: names.get(name[0], name[0]), detail)}") from refused

    mapping = {names.get(name, name): part for name, part in form.mapping.items()}
    return form._replace(convert=convert, mapping=mapping, renames=True)


def known_names(columns: Mapping[str, str]) -> dict[str, str]:
    """`data.columns` of a recipe with the names that formats have for what the columns are."""
    return {
        own: {"user": PROMPT_FIELDS[0], "assistant": ANSWER_FIELDS[0]}.get(part, part) for own, part in columns.items()
    }


def rename(source: Source, columns: dict[str, str], meant: Collection[str] = ()) -> Source:
    """The row with known names. Where the recipe names the question or the answer, other fields that could be it are
    not read. Raises Refused `column_taken` where two fields that say something get one name."""
    if others := _others(frozenset(meant)):
        source = {**source}
        for name in [name for name in source if columns.get(name) not in meant and name.strip().lower() in others]:
            conversions.leave_out(source, name)
    given: Source = {}
    for name, value in source.items():
        known = columns.get(name, name)
        if given.get(known) not in EMPTY and value not in EMPTY:
            raise Refused(f"column_taken|{known}")
        if value not in EMPTY or known not in given:
            given[known] = value
    return given


@cache
def _others(meant: frozenset[str]) -> frozenset[str]:
    parts = [names for names in (PROMPT_FIELDS, ANSWER_FIELDS) if names[0] in meant]
    whole = ("messages", "conversations", *PREFERENCE.mapping, *chain(*OUTPUTS)) if len(parts) == 2 else ()
    return frozenset({*chain(*parts), *whole} - {*SYSTEM, *CONTEXT, "tools"})


_SHAPES = read_beside(__file__)
_KNOWN = re.compile(r"\w+")
# What a column that is not read is no longer called.
_BACK = frozenset({PROMPT_FIELDS[0], ANSWER_FIELDS[0], CONTEXT[0], *OUTPUTS[0]})


def _shape_key(form: Format) -> tuple[str, ...]:
    return (form.name, *form.mapping)


def _of_fields(form: Format, sources: Sequence[Source]) -> Format:
    present = {name for source in sources for name in source}
    return form._replace(mapping={name: part for name, part in form.mapping.items() if name in present})


def shape_of(source: Source, *, prompts: bool = False) -> Format | None:
    """By a row's keys. Null is as if absent: sets of several shapes in one have the keys of all in every row."""
    source = {name: value for name, value in source.items() if value is not None}
    if "preferred_output" in source or "non_preferred_output" in source:
        return PREFERENCE
    if conversions.outputs_of(source):
        return CHOSEN_REJECTED
    if "messages" in source:
        return _of_messages(source, prompts=prompts)
    if "conversations" in source:
        return SHAREGPT
    prompt_field, answer_field = conversions.pair_of(source)
    if prompts and prompt_field:
        return _prompt(prompt_field)
    if "tools" in source and "answers" in source:  # xLAM: calls
        answer_field = answer_field or "answers"
    if "instruction" in source and "output" in source:
        return ALPACA
    if prompt_field and answer_field:
        return _pair(prompt_field, answer_field)
    return TEXT if "text" in source else None


def _of_messages(source: Source, *, prompts: bool) -> Format:
    """A question is half of a pair beside a text, else a prompt if all rows are `prompts` or there are fields for a
    grader. Where all are prompts, one may stand beside a whole dialogue (OpenR1)."""
    messages, (prompt_field, answer_field) = source["messages"], conversions.pair_of(source)
    if type(messages) is not list or not all(type(message) is dict for message in messages):
        return CHAT
    roles = [message.get("role") for message in messages]
    if prompts and roles[-1:] == ["assistant"]:
        return CHAT if prompt_field in (None, "input", "user") else _prompt(prompt_field)
    if roles[-1:] == ["user"] and answer_field and type(source[answer_field]) is str and not prompts:
        return _pair("messages", answer_field)
    fields = source.keys() - {"messages", "tools", "item", *SYSTEM} or source.get("item")
    return REINFORCEMENT if prompts or (fields and roles[-1:] == ["user"] and "assistant" not in roles) else CHAT


def _checked(name: str, convert: Callable[[Source], Source], *needed: str, prompts: bool = False) -> Any:
    """`convert` for rows that have the fields it needs; others are of another format or lack one."""

    def checked(source: Source) -> Source:
        missing = [field for field in needed if field not in source]
        if not missing and all(source[field] is None for field in needed):
            missing = [*needed]
        if missing:
            raise Refused(_why_missing(source, missing, name, needed, prompts=prompts))
        conversions.refuse_several(source, *needed)
        return convert(source)

    return checked


def _why_missing(source: Source, missing: list[str], name: str, needed: tuple[str, ...], *, prompts: bool) -> str:
    shape = shape_of(source, prompts=prompts)
    if shape is not None and shape.name != name:
        return "mixed_formats"
    prompt_field, answer_field = conversions.pair_of(source)
    if prompt_field and answer_field and name == "prompt_completion":
        return f"mixed_names|{prompt_field} and {answer_field}, and most rows have {' and '.join(needed)}"
    return f"missing_field|{', '.join(missing)}"


def _chat(source: Source) -> Source:
    messages = source.get("messages")
    last = messages[-1] if type(messages) is list and messages else None
    if not (type(last) is dict and last.get("role") == "assistant"):
        shape = shape_of(source)
        if shape is not None and shape.name != "chat":
            raise Refused("mixed_formats")
    return conversions.chat(source)


def _mapping(shape: str, **own: str) -> dict[str, str]:
    """The fields of a shape in order, as `formats.toml` has them. `own`: the one that is its question or its answer."""
    mapping: dict[str, str] = {}
    for name, part in _SHAPES[shape].items():
        group = name.strip("{}") if name.startswith("{") else ""
        fields = [own[group]] if group in own else conversions.NAMES.get(group, [name])
        mapping |= {field: part for field in fields if group in own or field not in own.values()}
    return mapping


def _pair(prompt_field: str, answer_field: str, name: str = "prompt_completion") -> Format:
    convert = partial(conversions.pair, prompt_field=prompt_field, answer_field=answer_field)
    mapping = _mapping("pair", user=prompt_field, assistant=answer_field)
    return Format(name, "chat", mapping, _checked(name, convert, prompt_field, answer_field))


def _prompt(prompt_field: str) -> Format:
    name, convert = "reinforcement", partial(conversions.prompt, prompt_field=prompt_field)
    return Format(
        name, name, _mapping("prompt", user=prompt_field), _checked(name, convert, prompt_field, prompts=True)
    )


CHAT = Format("chat", "chat", _mapping("chat"), _chat)
PAIRS = tuple(_pair(prompt_field, answer_field) for prompt_field in PROMPT_FIELDS for answer_field in ANSWER_FIELDS)
ALPACA = _pair("instruction", "output", "alpaca")
_TURNS = _checked("sharegpt", conversions.sharegpt, "conversations")
SHAREGPT = Format("sharegpt", "chat", _mapping("sharegpt"), _TURNS)
TEXT = Format("text", "text", _mapping("text"), _checked("text", lambda source: source, "text"))
_PAIRED = _checked("preference", conversions.preference, "input", "preferred_output", "non_preferred_output")
PREFERENCE = Format("preference", "preference", _mapping("preference"), _PAIRED)
CHOSEN_REJECTED = PREFERENCE._replace(mapping=_mapping("chosen_rejected"), convert=conversions.chosen_rejected)
_ASK = _checked("reinforcement", conversions.chat, "messages", prompts=True)
REINFORCEMENT = CHAT._replace(name="reinforcement", kind="reinforcement", convert=_ASK)
FORMATS = {form.name: form for form in (CHAT, PAIRS[0], ALPACA, SHAREGPT, TEXT, PREFERENCE, REINFORCEMENT)}
KNOWN_NAMES = frozenset(name for form in (*FORMATS.values(), *PAIRS, CHOSEN_REJECTED) for name in form.mapping)
_FOREIGN = read_beside(__file__, "foreign.toml")
# What a row may have beside its question and answer.
BESIDE = frozenset({*SYSTEM, *CONTEXT, *conversions.HISTORY, "tools"}) - {"input"}

NAME_COLUMNS = "Say what the fields are in data.columns, for example {frage: user, antwort: assistant}, or rename them."
# Fields by which rows are known that hold no whole dialogue or several, with what makes rows of them.
FOREIGN = {**_FOREIGN["rows"], **{name: _FOREIGN["pairs"].format(*order) for name, order in _FOREIGN["orders"].items()}}
