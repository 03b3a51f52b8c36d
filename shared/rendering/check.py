"""What the validator learns of each row from the base model's tokenizer and template."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import orjson

from shared.domain.findings import read_codes
from shared.domain.prompts import OUTPUTS, Row, dialogues, is_prompt, prompt_of
from shared.rendering.bundle import Bundle
from shared.rendering.compare import Comparison
from shared.rendering.rows import Rendered, Tokens, bounds, render_prompt, render_row, tokenize
from shared.rendering.template import TemplateNotTrainable

OverLength = Literal["reject", "drop", "truncate"]
Readings = tuple[Rendered, ...]

TOKEN_CODES = read_codes(__file__, "codes.toml")

# What the template does to all rows of a structure; the report says to how many.
OF_TEMPLATE = frozenset(
    {code for code in TOKEN_CODES if code.startswith("template_") and code != "template_not_trainable"}
)


@dataclass(frozen=True, slots=True)
class LengthPolicy:
    """Most tokens of a row, and of a held-out row's prompt and of its answer; None for no limit."""

    limit: int | None
    over_length: OverLength
    prompt_limit: int | None = None
    answer_limit: int | None = None


@dataclass(frozen=True, slots=True)
class RowTokens:
    """One row in tokens: all of them, those that are kept (0 where it is left out), those that loss falls on.

    `prompt`: those that ask for its last answer, `answer`: those of it, with its end. `codes` are keys of
    `TOKEN_CODES`. A row the template refuses has no tokens; `detail` says why. Of a row that is read in several texts
    `tokens` and `kept` are of the longest, and `texts` has the lengths that are kept.
    """

    tokens: int = 0
    kept: int = 0
    trained: int = 0
    codes: tuple[str, ...] = ()
    detail: str = ""
    prompt: int = 0
    answer: int = 0
    texts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a row has no text: a key of `TOKEN_CODES`, and the template's own words."""

    code: str
    detail: str = ""


def apply_length_policy(row: Tokens, policy: LengthPolicy) -> RowTokens:
    """What becomes of a row by its length. Validator and trainer share it."""
    tokens, trained = len(row), row.trained()
    if not trained:
        return RowTokens(tokens, codes=("no_trainable_tokens",))
    if policy.limit is None or tokens <= policy.limit:
        return RowTokens(tokens, tokens, trained)
    if policy.over_length == "reject":
        return RowTokens(tokens, codes=("too_many_tokens",))
    if policy.over_length == "drop":
        return RowTokens(tokens, codes=("row_dropped",))
    left = row.trained(policy.limit)
    if not left:
        return RowTokens(tokens, codes=("truncated_to_nothing",))
    return RowTokens(tokens, policy.limit, left, ("row_truncated",))


def apply_length_policy_to_all(texts: Sequence[Tokens], policy: LengthPolicy) -> list[RowTokens]:
    """The same for the texts of one dialogue: it is left out whole, but for texts of which a cut leaves nothing."""
    found = [apply_length_policy(one, policy) for one in texts]
    codes = {code for one in found for code in one.codes}
    if codes <= {"row_truncated", "truncated_to_nothing"}:
        cut = ("row_truncated",) if any(one.kept for one in found) else ("truncated_to_nothing",)
        return [replace(one, codes=cut if one.codes else ()) for one in found]
    return [replace(one, kept=0, trained=0) for one in found]


def apply_length_policy_to_prompt(row: Tokens, policy: LengthPolicy) -> RowTokens:
    """The same for a prompt. A cut prompt would ask something else, so one that is too long is refused or dropped."""
    tokens = len(row)
    if policy.limit is None or tokens <= policy.limit:
        return RowTokens(tokens, tokens)
    return RowTokens(tokens, codes=("row_dropped" if policy.over_length == "drop" else "too_many_tokens",))


class TokenCheck:
    """Counts tokens of canonical rows as the trainer will see them.

    A preference pair is two readings, the prompt with either answer; it has the tokens of the longer one. A prompt
    for reinforcement is read up to the answer, and nothing of it is learned.
    """

    def __init__(self, bundle: Bundle, policy: LengthPolicy) -> None:
        self.bundle, self.policy = bundle, policy
        self._comparison = Comparison(bundle)
        self._encoded = lru_cache(256)(lambda text: bundle.tokenizer.encode(text, add_special_tokens=False).ids)

    def rows(self, batch: Sequence[Row]) -> list[RowTokens]:
        """The batch's rows in order. Some hundred rows at a time keep the tokenizer busy and memory flat."""
        return self.count(batch, self.render(batch))

    def render(self, batch: Sequence[Row]) -> list[Readings | Refusal]:
        """Each row's texts, or why the template refuses it."""
        return [self._render(row) for row in batch]

    def count(self, batch: Sequence[Row], rendered: Sequence[Readings | Refusal]) -> list[RowTokens]:
        """The second half of `rows`."""
        counted = tokenize(self.bundle, [one for row in rendered if not isinstance(row, Refusal) for one in row])
        return [
            RowTokens(codes=(texts.code,), detail=texts.detail)
            if isinstance(texts, Refusal)
            else self._count(row, texts, [next(counted) for _ in texts])
            for row, texts in zip(batch, rendered, strict=True)
        ]

    def _render(self, row: Row) -> Readings | Refusal:
        try:
            return readings(self.bundle, row)
        except TemplateNotTrainable as error:
            return Refusal(error.code)
        except Exception as error:  # a template may raise anything
            return Refusal("row_not_renderable", self.bundle.template.words_of(error))

    def _count(self, row: Row, texts: Readings, tokens: list[Tokens]) -> RowTokens:
        is_pair = "input" in row
        if is_prompt(row):
            counted = apply_length_policy_to_prompt(tokens[0], self.policy)
        elif is_pair:
            counted = _as_one([apply_length_policy(output, self.policy) for output in tokens], all_or_none=True)
        else:
            counted = _as_one(apply_length_policy_to_all(tokens, self.policy), all_or_none=False)
        codes, prompts = self._compared(row, texts), [self._prompt(*one) for one in zip(texts, tokens, strict=True)]
        if any(differs for _, differs in prompts):
            codes.append("some_prompt_tokens_differ")
        if self._holds_special_token(row):
            codes.append("special_token_in_text")
        if len(texts) > 1 and not is_pair:
            codes.append("template_rewrites_turns")
        last = 0 if is_pair else -1
        start, end = tokens[last].spans[-1] if tokens[last].spans and "text" not in row else (0, 0)
        return replace(counted, codes=(*counted.codes, *codes), prompt=prompts[last][0], answer=end - start)

    def _prompt(self, reading: Rendered, tokens: Tokens) -> tuple[int, bool]:
        """How many tokens ask for the last answer, and whether one is learned after others than ask for it."""
        ids, length, differs = tokens.encoding.ids, len(tokens), False
        for (start, _), (first, _) in zip(reading.spans, tokens.spans, strict=True):
            # Text is split at added tokens before all else: the prompt is encoded alone from its last one.
            last = next((index for index in range(first - 1, 0, -1) if ids[index] in self.bundle.added), 0)
            alone = self._encoded(reading.text[bounds(tokens.encoding, last)[0] if last else 0 : start])
            length = last + len(alone)
            differs = differs or ids[last:length] != alone
        return length, differs

    def _compared(self, row: Row, texts: Readings) -> list[str]:
        if "text" in row:
            return [] if "eos_token" in self.bundle.named_tokens else ["template_without_end_token"]
        found = [self._comparison.dialogue(one.row, one.text, is_prompt=is_prompt(row)) for one in texts]
        return sorted(found[0].union(*found[1:]))

    def _holds_special_token(self, row: Row) -> bool:
        # One search through the row's JSON costs less than a walk through its parts.
        written = orjson.dumps([part for name, part in row.items() if name != "item"])
        return self._special.search(written) is not None

    @cached_property
    def _special(self) -> re.Pattern[bytes]:
        longest_first = sorted(self.bundle.special_tokens, key=len, reverse=True)
        return re.compile(b"|".join(re.escape(orjson.dumps(token)[1:-1]) for token in longest_first) or b"(?!)")


def readings(bundle: Bundle, row: Row) -> Readings:
    """A canonical row of any kind as the texts that a trainer reads of it. Raises as `render_row` does."""
    if is_prompt(row):
        return (replace(render_prompt(bundle, prompt_of(row)), row=row),)
    found = [text for dialogue in dialogues(row) for text in render_row(bundle, dialogue)]
    if "input" in row and len(found) > len(OUTPUTS):  # an output of several answers, which cannot be compared in parts
        raise TemplateNotTrainable
    return tuple(found)


def _as_one(texts: list[RowTokens], *, all_or_none: bool) -> RowTokens:
    """Several texts as one row: what is wrong with one is wrong with the row."""
    codes = tuple(dict.fromkeys(code for text in texts for code in text.codes))
    lengths = tuple(text.kept for text in texts if text.kept)
    if all_or_none:
        lengths = lengths if len(lengths) == len(texts) else ()
    trained = sum(text.trained for text in texts) if lengths else 0
    several = lengths if len(lengths) > 1 and not all_or_none else ()
    return RowTokens(max(text.tokens for text in texts), max(lengths, default=0), trained, codes, texts=several)
