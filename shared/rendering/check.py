"""What the base model's tokenizer and template find, row by row: problems by code, statistics, preview rows."""

import re
from array import array
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

import orjson

from shared.domain.catalog import find_entry
from shared.domain.findings import Findings, Place, read_codes
from shared.domain.planning.methods import row_limit, served_tokens
from shared.domain.prompts import OUTPUTS, Row, dialogues, is_prompt, prompt_of
from shared.domain.recipe import ANSWER_TOKENS_MAX, AUTO, Recipe
from shared.domain.tokens import Histogram, Piece, PreviewRow, TokenStatistics
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
FLUSH_ROWS = 256
FLUSH_CHARACTERS = 2**20
_IN_MOST = {"some_answers_cut": "answers_cut", "some_prompt_tokens_differ": "prompt_tokens_differ"}
_LEFT_OUT = {"row_dropped", "truncated_to_nothing"}
SHOWN_CHARACTERS = 1200

# Each edge is about a third to a half above the one before: few bars, and each limit in use is an edge.
EDGES = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16384, 32768, 131_072)
_TOO_LONG = {"too_many_tokens", "row_dropped", "row_truncated", "truncated_to_nothing"}


@dataclass(frozen=True, slots=True)
class LengthPolicy:
    """Most tokens of a row, and of a held-out row's prompt and of its answer; None for no limit."""

    limit: int | None
    over_length: OverLength
    prompt_limit: int | None = None
    answer_limit: int | None = None


@dataclass(frozen=True, slots=True)
class RowTokens:
    """One row in tokens: all of them, those that are kept (0 where it is left out), those that loss falls on; of its
    last answer those that ask (`prompt`) and those of it. `codes` of `TOKEN_CODES`; `detail` says why a template
    refuses it. Of several texts `tokens` and `kept` are of the longest, `texts` has the lengths that are kept."""

    tokens: int = 0
    kept: int = 0
    trained: int = 0
    codes: tuple[str, ...] = ()
    detail: str = ""
    prompt: int = 0
    answer: int = 0
    texts: tuple[int, ...] = ()


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
    """Counts tokens as the trainer will see them: of a pair the longer reading, of a prompt up to its answer."""

    def __init__(self, bundle: Bundle, policy: LengthPolicy) -> None:
        self.bundle, self.policy = bundle, policy
        self._comparison = Comparison(bundle)
        self._encoded = lru_cache(256)(lambda text: bundle.tokenizer.encode(text, add_special_tokens=False).ids)

    def rows(self, batch: Sequence[Row]) -> list[RowTokens]:
        """The batch's rows in order. Some hundred rows at a time keep the tokenizer busy and memory flat."""
        return self.count(batch, self.render(batch))

    def render(self, batch: Sequence[Row]) -> list[Readings | RowTokens]:
        """Each row's texts, or why the template refuses it."""
        return [self._render(row) for row in batch]

    def count(self, batch: Sequence[Row], rendered: Sequence[Readings | RowTokens]) -> list[RowTokens]:
        """The second half of `rows`."""
        counted = tokenize(self.bundle, [one for row in rendered if not isinstance(row, RowTokens) for one in row])
        return [
            texts if isinstance(texts, RowTokens) else self._count(row, texts, [next(counted) for _ in texts])
            for row, texts in zip(batch, rendered, strict=True)
        ]

    def _render(self, row: Row) -> Readings | RowTokens:
        try:
            return readings(self.bundle, row)
        except TemplateNotTrainable as error:
            return RowTokens(codes=(error.code,))
        except Exception as error:  # a template may raise anything
            return RowTokens(codes=("row_not_renderable",), detail=self.bundle.template.words_of(error))

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
        # One search through the row's JSON costs less than a walk through its parts.
        if self._special.search(orjson.dumps([part for name, part in row.items() if name != "item"])):
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


def length_policy(recipe: Recipe) -> LengthPolicy:
    """The longest row a recipe allows, by itself or by the base model, and the longest prompt that is then served."""
    requested = recipe.method.hyperparameters.max_length_tokens
    limit = row_limit(recipe) if requested == AUTO else requested
    answer_limit = recipe.evaluation.max_new_tokens
    served = served_tokens(recipe, limit, find_entry(recipe.base_model))
    return LengthPolicy(limit, recipe.data.over_length, served - answer_limit, answer_limit)


class TokenFacts:
    """Takes canonical rows one by one, counts them in batches; what is wrong goes to `findings`."""

    def __init__(self, findings: Findings, bundle: Bundle, policy: LengthPolicy, previews: int = 0) -> None:
        self._findings = findings
        self._check = TokenCheck(bundle, policy)
        self._lengths = array("I")  # of the training rows
        self._trained = self._too_long = self._truncated = 0
        self._batch: list[tuple[Place, Row, bool]] = []
        self._characters = 0
        self._previews = previews
        self._left_out, self._kept = set[str](), set[str]()
        self._rows, self._held_out, self._by_share = Counter[str](), Counter[str](), Counter[tuple[str, str]]()
        self._eval_longest = self._longest_answer = 0
        self.preview: list[PreviewRow] = []

    def add(self, place: Place, row: Row, characters: int, *, held_out: bool) -> None:
        """Take the next row, of about so many characters."""
        self._batch.append((place, row, held_out))
        self._characters += characters
        if len(self._batch) >= FLUSH_ROWS or self._characters >= FLUSH_CHARACTERS:
            self._flush()

    def finish(self) -> TokenStatistics:
        """Count what is left. Of the training rows, with the longest held-out row beside them."""
        self._flush()
        for file_name in sorted(self._left_out - self._kept):
            self._findings.add("no_row_left", file_name)
        for (code, file_name), count in self._by_share.items():
            cut = code == "some_answers_cut"
            rows = (self._held_out if cut else self._rows)[file_name]
            detail = f"{count:,} of {rows:,} " + (f"have up to {self._longest_answer:,}" if cut else "rows")
            found = _IN_MOST.get(code, code) if 2 * count > rows else code
            longest = min(self._longest_answer, ANSWER_TOKENS_MAX)
            self._findings.replace(code, file_name, "", (found, detail, str(longest)))
        return self._statistics()

    def _flush(self) -> None:
        batch, self._batch, self._characters = self._batch, [], 0
        prompt_limit, answer_limit = self._check.policy.prompt_limit, self._check.policy.answer_limit
        counted = self._check.rows([row for _, row, _ in batch])
        for (place, row, held_out), tokens in zip(batch, counted, strict=True):
            self._rows[place.file] += 1
            cut = held_out and tokens.answer > (answer_limit or tokens.answer)
            for code in (*tokens.codes, *["some_answers_cut"] * cut):
                self._findings.add(code, *place, detail=tokens.detail)
                if code in OF_TEMPLATE or code in _IN_MOST:
                    self._by_share[code, place.file] += 1
            file_name = "eval" if held_out else "train"
            if tokens.kept:
                self._kept.add(file_name)
            elif not _LEFT_OUT.isdisjoint(tokens.codes):
                self._left_out.add(file_name)
            if held_out:
                self._held_out[place.file] += 1
                # One that is left out for its length is asked all the same.
                self._eval_longest = max(self._eval_longest, tokens.kept or tokens.prompt)
                self._longest_answer = max(self._longest_answer, tokens.answer)
                if prompt_limit is not None and tokens.prompt > prompt_limit:
                    self._findings.add("prompt_too_long", *place, detail=f"{prompt_limit:,}")
            else:
                self._too_long += not _TOO_LONG.isdisjoint(tokens.codes)
                self._truncated += "row_truncated" in tokens.codes
                if tokens.kept:
                    self._lengths.extend(tokens.texts or (tokens.kept,))
                    self._trained += tokens.trained
            if tokens.kept and len(self.preview) < self._previews:
                shown = preview_rows(self._check.bundle, row, file=place.file, number=place.row)
                self.preview += shown[: self._previews - len(self.preview)]

    def _statistics(self) -> TokenStatistics:
        lengths, policy = sorted(self._lengths), self._check.policy
        longest, counts = lengths[-1] if lengths else 0, Counter(bisect_left(EDGES, length) for length in lengths)
        return TokenStatistics(
            tokenizer_sha256=self._check.bundle.sha256,
            limit=policy.limit,
            over_length=policy.over_length,
            rows=len(lengths),
            rows_too_long=self._too_long,
            rows_truncated=self._truncated,
            tokens=sum(lengths),
            trained_tokens=self._trained,
            tokens_mean=round(sum(lengths) / max(1, len(lengths)), 3),
            tokens_median=_percentile(lengths, 50),
            tokens_p95=_percentile(lengths, 95),
            tokens_max=longest,
            eval_tokens_max=self._eval_longest,
            lengths=Histogram.of(EDGES, [counts[place] for place in range(len(EDGES) + 1)], longest),
            packed_sequences=packed_sequences(lengths, policy.limit or longest),
        )


def _percentile(ordered: list[int], percent: int) -> int:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0


def packed_sequences(ordered: list[int], size: int) -> int:
    """How many sequences of `size` tokens hold all rows (`ordered`, none longer): best fit, the longest first."""
    left: dict[int, int] = {}  # free tokens -> sequences that have so many
    free: list[int] = []  # the keys of `left`, rising
    sequences = 0
    for length in reversed(ordered):
        at = bisect_left(free, length)
        if at < len(free):
            room = free[at]
            left[room] -= 1
            if not left[room]:
                del left[room], free[at]
        else:
            room = size
            sequences += 1
        rest = room - length
        if rest not in left:
            insort(free, rest)
        left[rest] = left.get(rest, 0) + 1
    return sequences


def preview_rows(bundle: Bundle, row: Row, *, file: str, number: int) -> list[PreviewRow]:
    """One row in each of its texts, of a preference pair the preferred side. Raises as `render_row` does."""
    texts = readings(bundle, row)[: 1 if "input" in row else None]
    return [_preview(text.text, read, file, number) for text, read in zip(texts, tokenize(bundle, texts), strict=True)]


def _preview(text: str, tokens: Tokens, file: str, number: int) -> PreviewRow:
    bounds = tokens.encoding.offsets
    with_loss = [(bounds[first][0], bounds[last - 1][1]) for first, last in tokens.spans if first < last]
    return PreviewRow(
        file=file,
        row=number,
        tokens=len(tokens),
        trained_tokens=tokens.trained(),
        pieces=tuple(_pieces(text, with_loss)),
    )


def _pieces(text: str, with_loss: list[tuple[int, int]]) -> Iterator[Piece]:
    at = 0
    for start, end in [*with_loss, (len(text), len(text))]:
        if start > at:
            yield Piece(text=_shortened(text[at:start]), has_loss=False)
        if end > start:
            yield Piece(text=_shortened(text[start:end]), has_loss=True)
        at = end


def _shortened(text: str) -> str:
    if len(text) <= SHOWN_CHARACTERS:
        return text
    half = SHOWN_CHARACTERS // 2
    return f"{text[:half]}\n[{len(text) - 2 * half} characters more]\n{text[-half:]}"
