"""Fields of a row beside those that its format is made of: kept for graders, refused, or named as ignored."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice
from statistics import fmean
from string import ascii_uppercase
from typing import Any, NamedTuple

from shared.domain.findings import ROWS_SHOWN, Findings
from shared.domain.graders import Grader
from shared.domain.recipe import PAIR_NAME, Recipe, Reinforcement
from shared.grading.engine import fields, read_fields
from shared.validation.conversions import ANSWER_FIELDS, TOOLS
from shared.validation.labels import LABEL_NAMES
from shared.validation.marks import WORDS, Mark, grade_of, is_bad, mark_of, plain_name
from shared.validation.names import EMPTY, NAMES_MAX, OTHER_NAMES, PLACEHOLDER, shown
from shared.validation.strict import loaded_text

_FIELDS = WORDS["fields"]
_MANY_MEDIA, _PASSAGES, _CHOICES = (_FIELDS[name] for name in ("many_media", "passages", "choices"))
_MEDIA = _MANY_MEDIA | _FIELDS["one_medium"]
_OF_ANSWER = re.compile(r"^(?:chosen|rejected|preferred|answer|response)_|_(?:chosen|rejected|preferred)$")
_PLACEHOLDER = re.compile(PLACEHOLDER + r"|<(image|audio|video)s?>|<\|(image|audio|video|vision)")


def _spelled(names: Iterable[str]) -> frozenset[str]:
    return frozenset(spelled for name in names for spelled in (name, name.capitalize(), name.title(), name.upper()))


MEDIA = _spelled(_MEDIA)
Unread = tuple[str, str, Any]  # of a key inside a row: its place, such as `messages[2]`, its name and value
_NUMBERS = re.compile(r"\[\d+\]")

# Of a passage: words or, in scripts without blanks, letters. A title, a file name or a channel has fewer.
_WORDS, _LETTERS, _SENTENCE_WORDS, _LONG = 8, 16, 3, 30
_SENTENCE_ENDS = (".", "!", "?", "\u3002", "\uff01", "\uff1f", "\u0964")  # also of Chinese, Japanese and Hindi
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_UNSPACED = re.compile(f"[{UNSPACED}]")
_WORD, _ANSWER_CHARACTERS = re.compile(r"\w+"), 5  # with the blanks around it
_LONG_ANSWER = 20  # characters that no field has by chance
_DIFFERENT_MAX, _REPEATED = 1_000, 5
_SEARCHED_MAX = 2**28
_CORRECTED = re.compile(
    rf"correction|(?:correct(?:ed)?|edited|expected|fixed|ideal|improved|revised)_(?:{'|'.join(ANSWER_FIELDS)})"
)
# What is beside a text that is to be sorted.
_LABELS = (*LABEL_NAMES, "summary", *ANSWER_FIELDS)
_NO_CASE = _spelled((*_LABELS, *_FIELDS["reasons"], *_FIELDS["reasoning"]))


class UsedFields(NamedTuple):
    """Row fields that the recipe reads. `others`: a grader may read more, unknown which, but not `replaced`."""

    names: frozenset[str] = frozenset()
    others: bool = False
    replaced: frozenset[str] = frozenset()


def used_fields(recipe: Recipe) -> UsedFields:
    """What the recipe reads of a row beside what is learned."""
    graders: list[Grader] = [*recipe.evaluation.graders]
    if isinstance(recipe.method, Reinforcement):
        graders += recipe.method.graders
    read = read_fields(graders)
    group = {recipe.data.split_group} if recipe.data.split_group is not None else set()
    replaced = replaced_fields(recipe)
    graded = {path for path in read or fields(graders) if path.partition(".")[0] not in replaced}
    pairs = {recipe.evaluation.pairs, PAIR_NAME} if recipe.evaluation.pairs is not None else set()
    paths = graded | set(recipe.evaluation.slices) | group | pairs
    return UsedFields(frozenset(paths | {path.partition(".")[0] for path in paths}), read is None, replaced)


def replaced_fields(recipe: Recipe) -> frozenset[str]:
    """The fields that graders never see: `item.answer` is the row's last message, which only a prompt lacks."""
    return frozenset() if isinstance(recipe.method, Reinforcement) else frozenset({"answer"})


def refusals(item: dict[str, Any], messages: list[dict[str, Any]], used: frozenset[str]) -> Iterator[str]:
    """The code, with the field's name, of each field that holds images, audio or video which the model would miss."""
    for name in MEDIA.intersection(item) - used:
        if not _is_nothing(item[name]) and (_is_media(name, item[name]) or _has_placeholder(messages)):
            yield f"media_not_read|{name}"


def _is_nothing(value: Any) -> bool:
    """`false`, 0, blanks, and lists of nothing else."""
    if isinstance(value, dict | list):
        return all(map(_is_nothing, value.values() if isinstance(value, dict) else value))
    text = value.strip().casefold() if isinstance(value, str) else value
    return text in (None, "", False, 0, "false", "0", "[]", "none", "null")


def _is_media(name: str, value: Any) -> bool:
    """Not so a path, a link or a flag in a field of one, which may only say what the row is about."""
    if name.casefold() in _MANY_MEDIA or isinstance(value, dict | list):
        return True
    return isinstance(value, str) and value.startswith("data:")


def _has_placeholder(messages: Sequence[dict[str, Any]]) -> bool:
    return any(_PLACEHOLDER.search(message.get("content", "")) for message in messages)


def code_of_inner(key: str, value: Any, messages: Sequence[dict[str, Any]]) -> str:
    """The code of a key below a row's fields that nothing reads, by the row alone; empty if it holds nothing."""
    about = _is_about(key)
    if value in EMPTY:
        return ""
    if about == "media" and not _is_nothing(value):
        return "media_not_read" if _is_media(key, value) or _has_placeholder(messages) else "media_named"
    if about == "passages" and any(map(_is_passage, _missing_from_messages(value, messages))):
        return "passage_not_read"
    if about == "reasoning" and _is_written(value, messages):
        return "reasoning_not_read"
    marks = (is_bad(*one) for one in _marks_in(key, value))
    return next(filter(None, marks), "ignored_field")


def report_unread(found: Iterable[Unread], messages: Sequence[dict[str, Any]], codes: set[str]) -> None:
    """Keys inside a row that nothing reads: named by a path without numbers, so that a key is one finding
    (`messages[].timestamp`, `input.parallel_tool_calls`), or refused if answers need them. `messages`: what is learned.
    A key that may be text is not shown."""
    for place, key, value in found:
        if code := code_of_inner(key, value, messages):
            name = shown(key)
            path = name if name == OTHER_NAMES else f"{_NUMBERS.sub('[]', place)}.{name}"
            codes.add(f"{code}|{path}")


# What `code_of_inner` says of a key in some rows, and of others that it is ignored.
REFUSED_KEYS = frozenset(
    {"media_not_read", "media_named", "passage_not_read", "reasoning_not_read", "unpaired_preference"}
)


def is_reasoning(name: str) -> bool:
    """Whether a field of this name has what a model thinks before it answers."""
    return _OF_ANSWER.sub("", plain_name(name)) in _FIELDS["reasoning"]


def _is_written(reasoning: Any, messages: Sequence[dict[str, Any]]) -> bool:
    """Not so a flag or a word that switches reasoning on or off, nor what the messages have."""
    if isinstance(reasoning, str) and reasoning.strip().casefold() in _FIELDS["switches"] | {""}:
        return False
    return isinstance(reasoning, str | dict | list) and bool(_missing_from_messages(_of_cell(reasoning), messages))


def _of_cell(value: Any) -> Any:
    """What a cell of a table stands for that is the JSON of an object or a list."""
    if not isinstance(value, str) or not value.startswith(("{", "[")):
        return value
    found = loaded_text(value)
    return value if found is None else found


class _FieldText(NamedTuple):
    text: str
    is_of_document: bool  # it stands under a key such as `page_content`


def _texts_in(value: Any, key: str = "") -> Iterator[_FieldText]:
    """Every text of a JSON value, keys left out."""
    if isinstance(value, str):
        yield _FieldText(value.strip(), key in _FIELDS["texts"])
    elif isinstance(value, list):
        for part in value:
            yield from _texts_in(part, key)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _texts_in(part, name)


def _missing_from_messages(value: Any, messages: Sequence[dict[str, Any]]) -> list[_FieldText]:
    """The texts of a JSON value that no message has. Those in the order of the messages take one pass; others at most
    `_SEARCHED_MAX` characters, beyond which they count as not found."""
    text = "\0".join(message.get("content", "") for message in messages)  # no text of a row holds this character
    place, left, unsaid = 0, _SEARCHED_MAX, []
    for found in dict.fromkeys(_texts_in(value)):
        start, place = place, text.find(found.text, place)
        if place < start:
            left -= len(text)
            place = text.find(found.text) if left > 0 else -1
        if place < 0:
            place = start
            unsaid.append(found)
    return unsaid


def _is_passage(found: _FieldText) -> bool:
    words = len(found.text.split())
    if words >= _WORDS or len(_UNSPACED.findall(found.text)) >= _LETTERS:
        return True
    return words >= _SENTENCE_WORDS and (found.is_of_document or found.text.endswith(_SENTENCE_ENDS))


def _are_turns(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) and {"role", "content"} <= one.keys() for one in value)


def _is_needed(value: Any, messages: Sequence[dict[str, Any]]) -> bool:
    """Whether a field of any name holds turns, or a text with a long answer in it, not that or the dialogue alone."""
    if _are_turns(value):
        return True
    answer, question = messages[-1]["content"].strip(), messages[-2]["content"] if len(messages) > 1 else ""
    texts = (found.text for found in _texts_in(value) if len(found.text) >= 2 * len(answer))
    return len(answer) >= _LONG_ANSWER and any(answer in text and question not in text for text in texts)


def _words(text: str) -> str:
    """Words in small letters with a blank around each."""
    return f" {' '.join(_WORD.findall(text.casefold()))} "


@lru_cache(maxsize=1024)
def _is_about(field: str) -> str:
    """What a field of this name holds, empty if nothing that is missed."""
    name = plain_name(field)
    if name in _MEDIA:
        return "media"
    if is_reasoning(field):
        return "reasoning"
    return "passages" if name in _PASSAGES else "choices" if name in _CHOICES else ""


class _Missed:
    """Rows whose field has text that no message has, and that an answer needs. Memory is flat."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self._certain = self._short = 0
        self._different: set[int] = set()

    def add(self, row: int, texts: list[_FieldText]) -> None:
        """A short text that many rows share is no passage. Without `texts` the row is counted for certain."""
        if len(self.rows) < ROWS_SHOWN:
            self.rows.append(row)
        if not texts or sum(len(found.text.split()) for found in texts) >= _LONG:
            self._certain += 1
            return
        self._short += 1
        if len(self._different) <= _DIFFERENT_MAX:
            self._different.add(hash(tuple(texts)))

    @property
    def count(self) -> int:
        return self._certain + (0 if len(self._different) * _REPEATED <= self._short else self._short)


def _marks_in(name: str, value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The value by the field's name, and those of an object, or of several, by the names in it."""
    if type(value) is str and value.startswith("["):
        value = _of_cell(value)
    yield (name,), value
    several = type(value) is list
    parts = [one for one in (value[:NAMES_MAX] if several else (value,)) if type(one) is dict]
    for key in dict.fromkeys(chain.from_iterable(islice(part, NAMES_MAX) for part in parts)):
        values = [part[key] for part in parts if key in part]
        yield (name, key), values if several else values[0]


def labels_of(names: Iterable[str]) -> list[str]:
    """Those of the fields beside a text that may be the answer to it, most likely ones first."""
    plain = {name: plain_name(name) for name in names}
    return sorted((name for name in plain if plain[name] in _LABELS), key=lambda name: _LABELS.index(plain[name]))


_ROWS_MAX, _QUESTIONS_MAX = 1_000, 50  # so many are looked at
_ROWS_PER_QUESTION, _ANSWERS_PER_QUESTION, _HALF = 10, 2, 0.5


class SameQuestions:
    """Rows that ask the same of a field that nothing reads (`Triage?`). `is_settled`: more rows change nothing."""

    def __init__(self) -> None:
        self._rows, self._questions, self._answered = 0, set[int](), dict[int, int]()
        self._texts: defaultdict[str, dict[int, int]] = defaultdict(dict)  # of each field, with their lengths

    @property
    def is_settled(self) -> bool:
        return self._rows == _ROWS_MAX or len(self._questions) > _QUESTIONS_MAX

    def add(self, unread: dict[str, Any], messages: list[dict[str, Any]], reference: str) -> None:
        """`unread`: fields that may be what rows ask about. `reference`: to a prompt, which has no answer."""
        self._rows += 1
        is_answered = messages[-1]["role"] == "assistant"
        answer = messages[-1]["content"] if is_answered else reference
        question = tuple(message["content"] for message in messages[: len(messages) - is_answered])
        self._questions.add(hash(question))
        self._answered[hash((question, answer))] = len(answer)
        for name, value in unread.items():
            text = " ".join(map(str, value)) if isinstance(value, list) else value
            if isinstance(text, str) and " " in text:
                self._texts[name][hash(text)] = len(text)

    def field(self, but: Collection[str]) -> str:
        """The field of the longest texts, which differ where few questions have several answers; empty for none."""
        questions, least = len(self._questions), _HALF * self._rows
        if questions * _ROWS_PER_QUESTION > self._rows or len(self._answered) < _ANSWERS_PER_QUESTION * questions:
            return ""
        several = {name: fmean(texts.values()) for name, texts in self._texts.items() if len(texts) >= least}
        lengths = {name: length for name, length in several.items() if name not in but}
        longest = max(lengths, key=lambda name: lengths[name], default="")
        return longest if longest and lengths[longest] >= _HALF * fmean(self._answered.values()) else ""


class FieldNotes:
    """What fields say that nothing reads; memory is flat. `learned`: the rows have answers to learn."""

    def __init__(self, used: UsedFields, *, learned: bool = True) -> None:
        self._used, self._learned = used, learned
        self._counts: dict[str, int] = {}
        self._marks: dict[tuple[str, ...], Mark] = {}
        self._missed: dict[tuple[str, tuple[str, ...]], _Missed] = {}
        self._same = SameQuestions()

    def add(self, row: int, item: dict[str, Any], messages: list[dict[str, Any]], *, has_answer: bool) -> None:
        """`messages`: what the model reads or learns of the row. `has_answer`: the last is an answer to learn."""
        for name, value in item.items():
            if name in self._used.names or value in EMPTY:
                continue
            for path, inner in _marks_in(name, value):
                self._add_mark(row, path, inner, messages, has_answer=has_answer)
            about = _is_about(name)
            if not about and has_answer and name not in ANSWER_FIELDS and _is_needed(_of_cell(value), messages):
                about = "passages"
            is_other_answer = has_answer and isinstance(value, str) and _CORRECTED.fullmatch(plain_name(name))
            if is_other_answer and value.strip() not in messages[-1]["content"]:  # a blank one is in any text
                self._miss("ambiguous_field", (name,), row, [])
            if about:
                self._add_missed(row, name, about, value, messages, has_answer=has_answer)
            if name not in self._counts and len(self._counts) >= NAMES_MAX:
                name = OTHER_NAMES
            self._counts[name] = self._counts.get(name, 0) + 1
        if not self._same.is_settled and (len(messages) > 1 or messages[0]["role"] == "user"):
            unread = {name: item[name] for name in item.keys() - self._used.names - _NO_CASE}
            self._same.add(unread, messages, str([item.get(name) for name in self._used.names]))
        if self._learned and not has_answer and (names := _reversed_grade(item)):
            self._miss("pair_scores_reversed", names, row, [])

    def _add_mark(
        self, row: int, path: tuple[str, ...], value: Any, messages: list[dict[str, Any]], *, has_answer: bool
    ) -> None:
        meaning = mark_of(path)
        if meaning is None or value == [] or (meaning.of_answer and not has_answer):
            return
        if path in self._marks or len(self._marks) < NAMES_MAX:
            question = tuple(message["content"] for message in messages[:-1])
            self._marks.setdefault(path, Mark(path, meaning)).add(row, value, question, messages[-1]["content"])

    def _add_missed(
        self, row: int, name: str, about: str, value: Any, messages: list[dict[str, Any]], *, has_answer: bool
    ) -> None:
        if about == "media":
            if not _is_nothing(value):
                self._miss("media_named", (name,), row, [])
            return
        if about == "reasoning":
            if self._learned and _is_written(value, messages):
                self._miss("reasoning_not_read", (name,), row, [])
            return
        texts = _missing_from_messages(_of_cell(value), messages)
        if about == "passages":
            answer = _words(messages[-1]["content"]) if has_answer else ""  # a text may hold it, however short it is
            sought = len(answer) >= _ANSWER_CHARACTERS
            if _are_turns(turns := _of_cell(value)):
                if _missing_from_messages([turn["content"] for turn in turns], messages):
                    self._miss("passage_not_read", (name,), row, [])
            elif passages := [one for one in texts if _is_passage(one) or (sought and answer in _words(one.text))]:
                self._miss("passage_not_read", (name,), row, passages)
        elif has_answer and texts and _names_a_choice(_of_cell(value), messages[-1]["content"].strip()):
            self._miss("choices_not_read", (name,), row, [])

    def _miss(self, code: str, names: tuple[str, ...], row: int, texts: list[_FieldText]) -> None:
        if (code, names) in self._missed or len(self._missed) < NAMES_MAX:
            self._missed.setdefault((code, names), _Missed()).add(row, texts)

    def report(self, findings: Findings, file: str, container: str = "jsonl", mapping: Iterable[str] = ()) -> None:
        """One finding for each field, or for fields that belong together. `mapping`: what the format reads."""
        name = self._same.field({*chain(*(names for code, names in self._missed if code != "passage_not_read"))})
        reported = {name}
        for (code, names), missed in self._missed.items():
            if names != (name,) and missed.count:
                others = ", ".join(dict.fromkeys(map(shown, names)))
                detail = f"the answer, such as {others}" if code == "ambiguous_field" else others
                findings.add_many(code, file, detail, missed.count, missed.rows)
                reported.update(names)
        if name:
            can_be_named = name == shown(name) and not {"context", "messages", "conversations"}.intersection(mapping)
            remedy = f"Set data: {{columns: {{{name}: context}}}}" if can_be_named else "Put it into the question"
            findings.add_many("case_not_read", file, shown(name), self._counts.get(name, 1), remedy=remedy)
        for path, mark in self._marks.items():
            marked, name = mark.finding(container, file), ".".join(path)
            if marked is not None:
                findings.add_many(marked.code, file, shown(name), marked.count, marked.rows, remedy=marked.remedy)
                reported.add(name)
        for name, count in self._counts.items():
            if (not self._used.others or name in self._used.replaced) and name not in reported:
                words = " (words, and no list of tools)" if name in TOOLS else ""
                findings.count("ignored_field", file, shown(name) + words, count)


def _reversed_grade(item: dict[str, Any]) -> tuple[str, ...]:
    """The field that grades the preferred answer of a pair lower than another field grades the other one, and that."""
    grades: dict[tuple[str, bool], tuple[float, str]] = {}
    for path, value in chain.from_iterable(_marks_in(*field) for field in item.items()):
        if (found := grade_of("_".join(path), value)) is not None:
            grades[found[:2]] = found[2], ".".join(path)
    pairs = ((grade, grades.get((what, False))) for (what, is_preferred), grade in grades.items() if is_preferred)
    return next(((grade[1], other[1]) for grade, other in pairs if other and grade[0] < other[0]), ())


def _names_a_choice(choices: Any, answer: str) -> bool:
    """Whether an answer is only the letter, number or key of a choice: its text can be learned without the others."""
    sign = answer.strip("()*. ").upper()
    if isinstance(choices, dict):
        return not {answer, sign}.isdisjoint(choices)
    if not isinstance(choices, list) or len(choices) < 2 or answer in choices:
        return False
    return sign in {*ascii_uppercase[: len(choices)], *map(str, range(len(choices) + 1))}
