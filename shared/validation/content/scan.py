"""The scan of what rows say: personal data, secrets, signs of manipulation, quality. One object for a whole dataset."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.domain.dataset import ProblemGroup
from shared.validation.content import injection, personal_data, secrets
from shared.validation.content.codes import CONTENT_CODES
from shared.validation.content.gate import Gate
from shared.validation.content.near_duplicates import INDEXED_ROWS_BITS, Clusters, Index, sketch
from shared.validation.content.quality import LOOK_UP_SHARE, MAX_LABEL_SHARE, MIN_LABEL_ROWS, MIN_ROWS_TO_JUDGE, Quality
from shared.validation.content.repeated_triggers import RepeatedTriggers
from shared.validation.content.slots import key_of
from shared.validation.content.texts import MESSAGE_FORM, texts_of, with_texts

ROWS_SHOWN = 20
# Of a question and of an answer: the words of a row of megabytes would take a hundred of them.
COMPARED_CHARACTERS = 100_000
Part = Literal["train", "eval"]
Messages = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ContentPolicy:
    """`allowed_kinds`: kinds of personal data that were reviewed and may stay, whatever `personal_data` says."""

    personal_data: Literal["block", "redact", "allow"] = "block"
    allowed_kinds: frozenset[str] = frozenset()
    secrets: Literal["block", "allow"] = "block"


@dataclass(slots=True)
class _Group:
    count: int = 0
    rows: list[int] = field(default_factory=list)


class ContentScan:
    """Give it every row, the held-out part first, then ask for `findings`.

    Memory does not grow with the number of rows: about 16 MB for each part, 5 MB for prompts and answers, up to 35 MB
    for odd tokens, and 100 bytes for each different value that was redacted (at most 200,000 of a kind).
    `special_tokens` are those of the base model, `indexed_rows_bits` sets how many rows near copies are sought in.
    """

    def __init__(
        self,
        policy: ContentPolicy = ContentPolicy(),
        special_tokens: Iterable[str] = (),
        indexed_rows_bits: int = INDEXED_ROWS_BITS,
    ) -> None:
        self._policy = policy
        injected = injection.triggers(special_tokens)
        self._injection_codes = frozenset(injected)
        self._gate = Gate({**personal_data.TRIGGERS, **secrets.TRIGGERS, **injected})
        self._redactor = personal_data.Redactor()
        self._groups: dict[tuple[str, str, str], _Group] = {}
        self._bits = indexed_rows_bits
        self._indexes: dict[str, Index] = {}
        self._clusters: dict[str, Clusters] = {}
        self._triggers = RepeatedTriggers()
        self._quality = Quality()

    def row(self, number: int, part: Part, messages: Messages) -> Messages:
        """Take a row in canonical form (content is text). Returns its messages, redacted if the policy says so."""
        texts = [text for message in messages for text in texts_of(message, MESSAGE_FORM)]
        changed = self._check(number, part, texts)
        if changed is not None:
            replaced = iter(changed)
            messages = [with_texts(message, replaced, MESSAGE_FORM) for message in messages]
        self._compare(number, part, messages)
        return messages

    def item(self, number: int, part: Part, item: dict[str, Any]) -> dict[str, Any]:
        """Take a row's other fields. Returns them, redacted if the policy says so; field names are left alone."""
        if not item:
            return item
        changed = self._check(number, part, list(texts_of(item)))
        return item if changed is None else with_texts(item, iter(changed))

    # Text by text.

    def _check(self, number: int, part: Part, texts: list[str]) -> list[str] | None:
        """Note what the texts hold; the redacted texts, or None if there was nothing to redact."""
        whole = "\n".join(texts)
        hits = self._gate.hits(whole)
        if not hits:
            return None
        for code in hits & self._injection_codes:
            if injection.confirmed(code, whole):
                self._note(code, part, number)
        kinds = hits & _SECRET_KINDS
        if kinds:
            code = "secret" if self._policy.secrets == "block" else "secret_allowed"
            for kind in secrets.find(whole, kinds):
                self._note(code, part, number, _in_words(kind))
        kinds = hits & personal_data.KINDS
        return self._check_personal_data(number, part, texts, kinds) if kinds else None

    def _check_personal_data(
        self, number: int, part: Part, texts: list[str], kinds: frozenset[str]
    ) -> list[str] | None:
        allowed = self._policy.allowed_kinds if self._policy.personal_data == "redact" else kinds
        found = {one.kind for one in personal_data.find("\n".join(texts), kinds & allowed)}
        changed = None
        if kinds - allowed:
            redacted, gone = self._redactor.redact_all(texts, personal_data.KINDS - allowed)
            found |= gone
            changed = redacted if gone else None
        for kind in found:
            self._note(self._personal_code(kind), part, number, _in_words(kind))
        return changed

    def _personal_code(self, kind: str) -> str:
        if kind in self._policy.allowed_kinds or self._policy.personal_data == "allow":
            return "personal_data_allowed"
        if self._policy.personal_data == "redact":
            return "personal_data_redacted"
        return "clinical_date" if kind == "clinical_date" else "personal_data"

    # Row beside row.

    def _compare(self, number: int, part: Part, messages: Messages) -> None:
        asked = [message for message in messages[:-1] if message["role"] != "system"]
        prompt = "\n".join(message["content"] for message in asked)
        answer = messages[-1]["content"]
        prompt_words, answer_words = (text[:COMPARED_CHARACTERS].lower().split() for text in (prompt, answer))
        if not prompt_words and not answer_words:
            return  # only tool calls
        prompt_key, answer_key = key_of(" ".join(prompt_words)), key_of(" ".join(answer_words))
        row = sketch(prompt_words + answer_words)
        other = self._indexes.get("eval" if part == "train" else "train")
        overlap = other.match(row) if other else None
        if overlap:
            code = "holdout_same_words" if overlap.exact else "holdout_near_overlap"
            self._note(code, "train", number if part == "train" else overlap.number)
        index = self._indexes.get(part)
        if index is None:
            index = self._indexes[part] = Index(self._bits)
        copy = index.match(row)
        index.add(row, number, copy.leader if copy else number)
        if copy and not copy.exact:
            self._clusters.setdefault(part, Clusters()).add(copy.leader)
            self._note("near_duplicate", part, number)
        if part == "train":
            self._judge(number, messages, prompt, answer, prompt_key, answer_key, unlike=copy is None)

    def _judge(
        self,
        number: int,
        messages: Messages,
        prompt: str,
        answer: str,
        prompt_key: int,
        answer_key: int,
        *,
        unlike: bool,
    ) -> None:
        if unlike:
            self._triggers.add(number, prompt.split(), answer_key)
        context = "\n".join(message["content"] for message in messages[:-1] if message["role"] == "system")
        said = prompt_key ^ key_of(context) if context else prompt_key
        question = next((message["content"] for message in reversed(messages) if message["role"] == "user"), "")
        if self._quality.add(number, question, answer, said, answer_key) is not None:
            self._note("contradictory_answers", "train", number)

    def _note(self, code: str, part: str, number: int, detail: str = "") -> None:
        group = self._groups.setdefault((code, part, detail), _Group())
        group.count += 1
        if len(group.rows) < ROWS_SHOWN:
            group.rows.append(number)

    # At the end.

    def findings(self) -> list[ProblemGroup]:
        """What was found so far: errors before warnings, by code; rows are the first ones, at most 20."""
        problems = [
            _problem(
                code, part, self._cluster_words(part) if code == "near_duplicate" else detail, group.count, group.rows
            )
            for (code, part, detail), group in self._groups.items()
        ]
        problems += self._about_triggers() + self._about_labels() + self._about_content()
        return sorted(problems, key=lambda one: (one.severity != "error", one.code, one.file, one.message))

    def _cluster_words(self, part: str) -> str:
        clusters = self._clusters[part]
        return f"{_counted(len(clusters), 'group')}, the largest of {clusters.largest} rows"

    def _about_triggers(self) -> list[ProblemGroup]:
        found = self._triggers.found()
        return [
            _problem("repeated_trigger", "train", f"{one.row_count} rows", one.row_count, one.rows)
            for one in found[:ROWS_SHOWN]
        ]

    def _about_labels(self) -> list[ProblemGroup]:
        counts = self._quality.label_counts
        problems = []
        if counts and counts[0] > MAX_LABEL_SHARE * self._quality.rows:
            share = f"{100 * counts[0] // self._quality.rows} %"
            problems.append(_problem("label_imbalance", "train", share, counts[0]))
        rare = sum(count < MIN_LABEL_ROWS for count in counts)
        if rare:
            detail = f"{_counted(rare, 'label')} of {len(counts)} occur in fewer than {MIN_LABEL_ROWS} rows"
            problems.append(_problem("rare_label", "train", detail, rare))
        return problems

    def _about_content(self) -> list[ProblemGroup]:
        quality, problems = self._quality, []
        if (
            quality.rows >= MIN_ROWS_TO_JUDGE
            and quality.look_up_share >= LOOK_UP_SHARE
            and not quality.is_classification
        ):
            share = f"{round(100 * quality.look_up_share)} %"
            count = round(quality.look_up_share * quality.rows)
            problems.append(_problem("look_up_facts", "train", share, count, quality.look_up_rows))
        count, rows = quality.outliers()
        if count:
            detail = f"{quality.median_characters} characters"
            problems.append(_problem("length_outlier", "train", detail, count, rows))
        return problems


def _problem(code: str, part: str, detail: str, count: int, rows: Collection[int] = ()) -> ProblemGroup:
    known = CONTENT_CODES[code]
    return ProblemGroup(
        code=code,
        severity=known.severity,
        count=count,
        file=part,
        rows=tuple(rows),
        message=known.message.replace("{detail}", detail),
        fix=known.fix,
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _in_words(kind: str) -> str:
    return _WORDS.get(kind, kind.replace("_", " "))


_SECRET_KINDS = frozenset(secrets.TRIGGERS)
_WORDS = {
    "iban": "IBAN",
    "us_ssn": "US social security number",
    "nhs_number": "NHS number",
    "ipv4": "IPv4 address",
    "ipv6": "IPv6 address",
}
