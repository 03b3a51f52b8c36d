"""What the text of one row shows by itself."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from shared.domain.recipe import Data
from shared.validation.compared import Statement, compared_texts
from shared.validation.content import harmful, injection, personal_data, secrets
from shared.validation.content.damage import CODED, DAMAGED, MOJIBAKE, TRIGGERS, UNFILLED, cut_end, is_coded, unfilled
from shared.validation.content.languages import language_of_row
from shared.validation.content.near_duplicates import Sketch, key_of, sketch
from shared.validation.content.pattern_set import PatternSet
from shared.validation.content.personal_patterns import IN_WORDS, date_scope, dates_in
from shared.validation.content.quality import asks_for_fact
from shared.validation.content.texts import fields_of_row, texts_of_row, with_texts_of_row
from shared.validation.rows import ParsedRow

RowDocument = dict[str, Any]
Messages = list[dict[str, Any]]
Found = tuple[str, ...]  # code and detail, and the field where it is known
_GATE = PatternSet({**personal_data.TRIGGERS, **secrets.TRIGGERS, **injection.TRIGGERS, **TRIGGERS})  # all at once
ROW_WITH_DATES = "row_with_dates"  # no code of a finding: its detail, a `DateScope`, is counted


class Dialogue(NamedTuple):
    """A row as it is compared with others: keys are 64 bits, equal for equal words. `read_key`: of all before the
    answer, None if nothing is asked; of a pair its two answers too. `asks_for_fact` is of training rows with an answer.
    `length` and `end`: of the answer in characters, and by `cut_end`."""

    sketch: Sketch
    language: str
    answer_key: int
    read_key: int | None
    asks_for_fact: bool
    characters: int
    length: int = 0
    end: str = ""


class RowScan:
    """Holds no text. `policy`: what is done with personal data and secrets, which are numbered in order."""

    def __init__(self, policy: Data = Data()) -> None:
        self._policy, self._allowed = policy, frozenset(policy.personal_data_allowed)
        self._redactor = personal_data.Redactor()

    def is_plain(self, text: str) -> bool:
        """Whether no detector of personal data, secrets or manipulation finds anything in the text."""
        hits = _GATE.hits(text)
        return not hits or not (
            any(injection.confirmed(code, text) for code in hits & _INJECTION_CODES)
            or secrets.find(text, hits & _SECRET_KINDS)
            or personal_data.find_by(personal_data.likely(hits), text)
        )

    def find(self, document: RowDocument) -> tuple[list[Found], RowDocument]:
        """What a row in canonical form holds, and the row, redacted if the policy requires it."""
        texts = texts_of_row(document)
        whole = "\n".join(texts)
        hits = _GATE.hits(whole)
        if not hits:
            return [], document
        injected = sorted(hits & _INJECTION_CODES)
        found: list[Found] = [(code, "") for code in injected if injection.confirmed(code, whole)]
        damaged = (kind for kind in sorted(hits & _DAMAGE) if kind == MOJIBAKE or any(is_coded(kind, t) for t in texts))
        found += ((DAMAGED, kind) for kind in damaged)
        if UNFILLED in hits and (place := unfilled(document)):
            found.append((DAMAGED, f"{UNFILLED}:{place}"))
        changed = texts
        kinds, detectors = hits & _SECRET_KINDS, personal_data.likely(hits)
        if kinds and (secret := secrets.find(whole, kinds)):
            found += ((_SECRET_CODES[self._policy.secrets], _in_words(kind)) for kind in sorted(secret))
            changed = secrets.redacted(texts, kinds) if self._policy.secrets == "redact" else texts
        if detectors and self._policy.personal_data == "redact":
            redacted, personal = self._redactor.redact_all(changed, personal_data.KINDS - self._allowed)
            found += self._personal(personal)
            changed = redacted if personal - self._allowed else changed
        elif detectors:
            at = personal_data.find_by(detectors, "\n".join(changed))
            for code, kind in self._personal({one.kind for one in at}):
                starts = [one.start for one in at if _in_words(one.kind) == kind]
                found.append((code, kind, _fields(starts, changed, document)))
        if not hits.isdisjoint(personal_data.DATES) and self._personal_code("clinical_date") != "personal_data_allowed":
            scope = date_scope(whole)
            starts = [start for start, _ in dates_in(whole)] if scope == "undecided" else []
            found.append((ROW_WITH_DATES, scope, _fields(starts, texts, document)))
        return found, document if changed is texts else with_texts_of_row(document, iter(changed))

    def find_harmful(self, row: ParsedRow) -> Iterator[Found]:
        """What answers of a row teach that they should not; of a preference pair the one that is preferred."""
        for kind, place in harmful.find(row.messages).items():
            allowed = self._policy.harmful_content == "allow" or kind in self._policy.harmful_content_allowed
            code = "harmful_content_allowed" if allowed else "harmful_content"
            other = "text" if "text" in row.document else "preferred_output"
            yield code, _in_words(kind), f"messages[{place}].content" if "messages" in row.document else other

    def _personal(self, kinds: set[str]) -> list[tuple[str, str]]:
        return [(self._personal_code(kind), _in_words(kind)) for kind in sorted(kinds)]

    def _personal_code(self, kind: str) -> str:
        if kind in self._allowed or self._policy.personal_data == "allow":
            return "personal_data_allowed"
        if self._policy.personal_data == "redact":
            return "personal_data_redacted"
        return "clinical_date" if kind == "clinical_date" else "personal_data"

    def dialogue(
        self, messages: Messages, tools: Any, *, has_answer: bool, held_out: bool, statement: Statement | None = None
    ) -> Dialogue | None:
        """The same row as a dialogue, None if it has no words. `has_answer`: the last message is an answer, which is
        compared with the answers of other rows; of pairs and prompts the `statement` is."""
        texts = compared_texts(messages, tools)
        question_words, answer_words = (text.lower().split() for text in (texts.question, texts.answer))
        if not question_words and not answer_words:
            return None
        question_key, answer_key = (key_of(" ".join(words)) for words in (question_words, answer_words))
        row = sketch(question_words + answer_words, question_key >> 1 ^ answer_key, texts.context)
        before = [message["content"] for message in messages[:-1] if message["role"] != "system"]
        language = language_of_row(before[-1] if before else "", messages[-1]["content"])
        characters = sum(map(len, texts))
        answer = messages[-1]["content"] if messages[-1]["role"] == "assistant" and before else ""
        length, end = len(answer), cut_end(answer)
        if held_out or not has_answer:
            read_key, answer_key = statement or (None, 0)
            return Dialogue(row, language, answer_key, read_key, False, characters, length, end)
        read_key = question_key if question_words else None
        if read_key is not None and texts.context:
            read_key ^= key_of(texts.context)
        question = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
        asks = "tool_calls" not in messages[-1] and asks_for_fact(question, texts.answer, texts.context)
        return Dialogue(row, language, answer_key, read_key, asks, characters, length, end)


def _fields(starts: Iterable[int], texts: list[str], document: RowDocument) -> str:
    """The fields at these places of the texts, joined by line feeds; empty if the model reads all of them."""
    ends, fields = list(accumulate(len(text) + 1 for text in texts)), fields_of_row(document)
    found = dict.fromkeys(fields[bisect_right(ends, start)] for start in starts)
    return " and ".join(name or "messages" for name in found) if any(found) else ""


def _in_words(kind: str) -> str:
    return IN_WORDS.get(kind, kind.replace("_", " "))


_INJECTION_CODES = frozenset(injection.TRIGGERS)
_SECRET_KINDS = frozenset(secrets.TRIGGERS)
_DAMAGE = frozenset((*CODED, MOJIBAKE))
_SECRET_CODES = {"block": "secret", "redact": "secret_redacted", "allow": "secret_allowed"}
