"""What the base model's tokenizer finds in a dataset: problems by code, statistics, preview rows."""

from array import array
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterator

from shared.domain.catalog import find_entry
from shared.domain.findings import Findings, Place
from shared.domain.planning.methods import row_limit, served_tokens
from shared.domain.prompts import Row
from shared.domain.recipe import ANSWER_TOKENS_MAX, AUTO, Recipe
from shared.domain.tokens import Histogram, Piece, PreviewRow, TokenStatistics
from shared.rendering.bundle import Bundle
from shared.rendering.check import OF_TEMPLATE, LengthPolicy, RowTokens, TokenCheck, readings
from shared.rendering.rows import Tokens, tokenize

FLUSH_ROWS = 256
FLUSH_CHARACTERS = 2**20
_IN_MOST = {"some_answers_cut": "answers_cut", "some_prompt_tokens_differ": "prompt_tokens_differ"}
_LEFT_OUT = {"row_dropped", "truncated_to_nothing"}


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
        self._counter = TokenCounter(self._check)
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
        return self._counter.statistics().model_copy(update={"eval_tokens_max": self._eval_longest})

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
                self._counter.add(tokens)
            if tokens.kept and len(self.preview) < self._previews:
                shown = preview_rows(self._check.bundle, row, file=place.file, number=place.row)
                self.preview += shown[: self._previews - len(self.preview)]


# Each edge is about a third to a half above the one before: few bars, and each limit in use is an edge.
EDGES = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192, 16384, 32768, 131_072)
_TOO_LONG = {"too_many_tokens", "row_dropped", "row_truncated", "truncated_to_nothing"}


class TokenCounter:
    """Counts over the rows of one file."""

    def __init__(self, check: TokenCheck) -> None:
        self._check = check
        self._lengths = array("I")
        self._trained = self._too_long = self._truncated = 0

    def add(self, row: RowTokens) -> None:
        """Take the next row."""
        self._too_long += not _TOO_LONG.isdisjoint(row.codes)
        self._truncated += "row_truncated" in row.codes
        if row.kept:
            self._lengths.extend(row.texts or (row.kept,))
            self._trained += row.trained

    def statistics(self) -> TokenStatistics:
        lengths, policy = sorted(self._lengths), self._check.policy
        longest = lengths[-1] if lengths else 0
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
            lengths=_histogram(lengths),
            packed_sequences=packed_sequences(lengths, policy.limit or longest),
        )


def _percentile(ordered: list[int], percent: int) -> int:
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else 0


def _histogram(lengths: list[int]) -> Histogram:
    counts = [0] * (len(EDGES) + 1)
    for length in lengths:
        counts[bisect_left(EDGES, length)] += 1
    return Histogram.of(EDGES, counts, lengths[-1] if lengths else 0)


def packed_sequences(ordered: list[int], size: int) -> int:
    """How many sequences of `size` tokens hold all rows, each row whole: best fit, the longest row first.

    `ordered` rises; no length is above `size`.
    """
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


SHOWN_CHARACTERS = 1200


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
