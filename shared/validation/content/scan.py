"""The scan of the text of rows: personal data, secrets, manipulation, quality. One object for a whole dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from shared.domain.dataset import Outliers
from shared.domain.findings import Findings, Place, counted
from shared.validation.compared import Texts, compared_texts
from shared.validation.content import injection, personal_data, secrets
from shared.validation.content.languages import Languages
from shared.validation.content.near_duplicates import INDEXED_ROWS_BITS, Clusters, Index, Sketch, sketch
from shared.validation.content.pattern_set import PatternSet
from shared.validation.content.personal_patterns import Detector
from shared.validation.content.quality import LOOK_UP_SHARE, MIN_ROWS, Quality
from shared.validation.content.repeated_triggers import RepeatedTriggers
from shared.validation.content.slots import key_of
from shared.validation.content.texts import texts_of_row, with_texts_of_row

TRIGGERS_SHOWN = 20
CONTRADICTIONS_SHOWN = 20
RowDocument = dict[str, Any]
Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ContentPolicy:
    """`allowed_kinds`: kinds of personal data that were reviewed and may stay, whatever `personal_data` is."""

    personal_data: Literal["block", "redact", "allow"] = "block"
    allowed_kinds: frozenset[str] = frozenset()
    secrets: Literal["block", "redact", "allow"] = "block"


class ContentScan:
    """Give it every row, the held-out file first, then call `finish`; what it finds goes to `findings`.

    Memory does not grow with the number of rows: about 16 MB for each part, 5 MB for prompts and answers, up to 35 MB
    for odd tokens, and 100 bytes for each different value that was redacted (at most 200,000 of a kind).
    `special_tokens` are those of the base model, `indexed_rows_bits` sets how many rows near duplicates are sought in.
    """

    def __init__(
        self,
        findings: Findings,
        policy: ContentPolicy = ContentPolicy(),
        special_tokens: Iterable[str] = (),
        indexed_rows_bits: int = INDEXED_ROWS_BITS,
    ) -> None:
        self._findings = findings
        self._policy = policy
        injected = injection.triggers(special_tokens)
        self._injection_codes = frozenset(injected)
        self._gate = PatternSet({**personal_data.TRIGGERS, **secrets.TRIGGERS, **injected})
        self._redactor = personal_data.Redactor()
        self._bits = indexed_rows_bits
        self._indexes: dict[str, Index] = {}
        self._clusters: dict[str, Clusters] = {}
        self._triggers = RepeatedTriggers()
        self._quality = Quality()
        self._languages = Languages()
        self.contradictions: list[tuple[int, int]] = []  # rows that ask the same and answer otherwise

    # Text by text.

    def read(self, place: Place, document: RowDocument) -> RowDocument:
        """Take a row in canonical form. Returns it, redacted if the policy requires it; field names are left alone."""
        texts = list(texts_of_row(document))
        whole = "\n".join(texts)
        hits = self._gate.hits(whole)
        if not hits:
            return document
        for code in hits & self._injection_codes:
            if injection.confirmed(code, whole):
                self._findings.add(code, *place)
        changed = texts
        kinds = hits & _SECRET_KINDS
        if kinds:
            changed = self._check_secrets(place, changed, kinds)
        detectors = personal_data.likely(hits)
        if detectors:
            changed = self._check_personal_data(place, changed, detectors)
        return document if changed is texts else with_texts_of_row(document, iter(changed))

    def _check_secrets(self, place: Place, texts: list[str], kinds: frozenset[str]) -> list[str]:
        found = secrets.find("\n".join(texts), kinds)
        for kind in found:
            self._findings.add(_SECRET_CODES[self._policy.secrets], *place, detail=_in_words(kind))
        return secrets.redacted(texts, kinds) if found and self._policy.secrets == "redact" else texts

    def _check_personal_data(self, place: Place, texts: list[str], detectors: list[Detector]) -> list[str]:
        allowed = self._policy.allowed_kinds
        if self._policy.personal_data == "redact":
            redacted, found = self._redactor.redact_all(texts, personal_data.KINDS - allowed)
            texts = redacted if found - allowed else texts
        else:
            found = {one.kind for one in personal_data.find_by(detectors, "\n".join(texts))}
        for kind in found:
            self._findings.add(self._personal_code(kind), *place, detail=_in_words(kind))
        return texts

    def _personal_code(self, kind: str) -> str:
        if kind in self._policy.allowed_kinds or self._policy.personal_data == "allow":
            return "personal_data_allowed"
        if self._policy.personal_data == "redact":
            return "personal_data_redacted"
        return "clinical_date" if kind == "clinical_date" else "personal_data"

    # Row beside row.

    def compare(
        self, place: Place, messages: Messages, tag: int, *, tools: Any = None, has_answer: bool = True
    ) -> Sketch | None:
        """Take the same row as a dialogue. Returns its sketch, None if it has no words.

        `tag`: 64 bits, equal for rows that ask and answer exactly the same. `has_answer`: the last message is
        an answer, which is compared with the answers of other rows.
        """
        texts = compared_texts(messages, tools)
        question_words, answer_words = (text.lower().split() for text in (texts.question, texts.answer))
        if not question_words and not answer_words:
            return None
        held_out = place.file == "eval"
        number = -place.row if place.file == "previous" else place.row  # negative: not a row of the dropped file
        row = sketch(question_words + answer_words, texts.context)
        copies = self._find_near(place, row, number, tag)
        if not held_out:
            before = [message["content"] for message in messages[:-1] if message["role"] != "system"]
            self._languages.add(number, before[-1] if before else "", messages[-1]["content"])
        if has_answer and not held_out:
            answer_key = key_of(" ".join(answer_words))
            if not copies:
                self._triggers.add(number, f"{texts.context} {texts.question}".split(), answer_key)
            if question_words:
                question_key = key_of(" ".join(question_words))
                self._check_answer(place, number, messages, texts, question_key, answer_key)
        return row

    def _find_near(self, place: Place, row: Sketch, number: int, tag: int) -> bool:
        """Whether an earlier row of its part is like this one."""
        held_out = place.file == "eval"
        overlap = None if held_out or "eval" not in self._indexes else self._indexes["eval"].match(row)
        if overlap and overlap.tag != tag:  # equal ones are sought exactly, and elsewhere
            self._findings.add("train_eval_same_words" if overlap.exact else "train_eval_near_duplicate", *place)
        index = self._indexes.get("eval" if held_out else "train")
        if index is None:
            index = self._indexes["eval" if held_out else "train"] = Index(self._bits)
        copy = index.match(row)
        index.add(row, number, copy.leader if copy else number, tag)
        if copy and not copy.exact:
            self._clusters.setdefault(place.file, Clusters()).add(copy.leader)
            self._findings.add("near_duplicate", *place)
        return copy is not None

    def _check_answer(
        self, place: Place, number: int, messages: Messages, texts: Texts, question_key: int, answer_key: int
    ) -> None:
        context_key = question_key ^ key_of(texts.context) if texts.context else question_key
        question = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
        characters = sum(map(len, texts))
        earlier = self._quality.add(number, question, texts.answer, context_key, answer_key, characters)
        if earlier is not None:
            self._findings.add("contradictory_answers", *place)
            if len(self.contradictions) < CONTRADICTIONS_SHOWN and number > 0 and earlier < 2**31:
                self.contradictions.append((earlier, number))

    # At the end.

    def finish(self, *, classifies: bool = False) -> None:
        """Note what only the rows as a whole show. `classifies`: the answers are labels."""
        for file, clusters in self._clusters.items():
            detail = f"{counted(len(clusters), 'group')}, the largest of {clusters.largest} rows"
            self._findings.explain("near_duplicate", file, detail)
        for one in self._triggers.found()[:TRIGGERS_SHOWN]:
            self._note("repeated_trigger", f"{one.row_count} rows", one.row_count, one.rows)
        for other in self._languages.other_languages():
            detail = f"{counted(other.row_count, 'row')} in {other.language}"
            self._note("unexpected_language", detail, other.row_count, other.rows)
        self._check_whole(classifies)

    def is_plain(self, text: str) -> bool:
        """Whether no detector of personal data, secrets or manipulation is to look at the text."""
        return not self._gate.hits(text)

    @property
    def characters_median(self) -> int:
        return self._quality.median_characters

    @property
    def outliers(self) -> tuple[Outliers, Outliers]:
        """Rows that are far longer, and far shorter, than the median row."""
        both = (self._quality.outliers(), self._quality.short_outliers())
        long, short = (Outliers(count=count, rows=tuple(row for row in rows if row > 0)) for count, rows in both)
        return long, short

    @property
    def languages(self) -> dict[str, int]:
        """Training rows looked at by language."""
        return self._languages.counts

    def _note(self, code: str, detail: str, count: int, rows: Iterable[int] = ()) -> None:
        self._findings.add_many(code, "train", detail, count, (row for row in rows if row > 0))

    def _check_whole(self, classifies: bool) -> None:
        quality = self._quality
        if quality.rows >= MIN_ROWS and quality.look_up_share >= LOOK_UP_SHARE and not classifies:
            share = quality.look_up_share
            self._note("fact_lookup", f"{round(100 * share)} %", round(share * quality.rows), quality.look_up_rows)
        count, rows = quality.outliers()
        if count:
            self._note("length_outlier", f"{quality.median_characters} characters", count, rows)


def _in_words(kind: str) -> str:
    return _WORDS.get(kind, kind.replace("_", " "))


_SECRET_KINDS = frozenset(secrets.TRIGGERS)
_SECRET_CODES = {"block": "secret", "redact": "secret_redacted", "allow": "secret_allowed"}
_WORDS = {
    "iban": "IBAN",
    "us_ssn": "US social security number",
    "nhs_number": "NHS number",
    "ipv4": "IPv4 address",
    "ipv6": "IPv6 address",
}
