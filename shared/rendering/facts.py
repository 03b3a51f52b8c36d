"""What the base model's tokenizer finds in a dataset: problems by code, statistics, preview rows."""

from __future__ import annotations

from collections import Counter

from shared.domain.catalog import find_entry
from shared.domain.findings import Findings, Place
from shared.domain.planning.methods import served_tokens
from shared.domain.prompts import Row
from shared.domain.recipe import AUTO, Recipe
from shared.domain.tokens import PreviewRow, TokenStatistics
from shared.rendering.bundle import Bundle
from shared.rendering.check import OF_TEMPLATE, LengthPolicy, TokenCheck
from shared.rendering.preview import preview_row
from shared.rendering.token_counter import TokenCounter

FLUSH_ROWS = 256
FLUSH_CHARACTERS = 2**20
_LEFT_OUT = {"row_dropped", "truncated_to_nothing"}


def length_policy(recipe: Recipe) -> LengthPolicy:
    """The longest row a recipe allows, by itself or by the base model, and the longest prompt that is then served."""
    requested = recipe.method.hyperparameters.max_length_tokens
    limit = find_entry(recipe.base_model).context_tokens if requested == AUTO else requested
    prompt_limit = served_tokens(recipe, limit) - recipe.evaluation.max_new_tokens
    return LengthPolicy(limit, recipe.data.over_length, prompt_limit)


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
        self._rows, self._by_template = Counter[str](), Counter[tuple[str, str]]()
        self._eval_longest = 0
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
        for (code, file_name), count in self._by_template.items():
            self._findings.explain(code, file_name, f"{count:,} of {self._rows[file_name]:,} rows")
        return self._counter.statistics().model_copy(update={"eval_tokens_max": self._eval_longest})

    def _flush(self) -> None:
        batch, self._batch, self._characters = self._batch, [], 0
        prompt_limit = self._check.policy.prompt_limit
        counted = self._check.rows([row for _, row, _ in batch])
        for (place, row, held_out), tokens in zip(batch, counted, strict=True):
            self._rows[place.file] += 1
            for code in tokens.codes:
                self._findings.add(code, *place, detail=tokens.detail)
                if code in OF_TEMPLATE:
                    self._by_template[code, place.file] += 1
            file_name = "eval" if held_out else "train"
            if tokens.kept:
                self._kept.add(file_name)
            elif not _LEFT_OUT.isdisjoint(tokens.codes):
                self._left_out.add(file_name)
            if held_out:
                self._eval_longest = max(self._eval_longest, tokens.kept)
                if prompt_limit is not None and tokens.prompt > prompt_limit:
                    self._findings.add("prompt_too_long", *place, detail=f"{prompt_limit:,}")
            else:
                self._counter.add(tokens)
            if tokens.kept and len(self.preview) < self._previews:
                self.preview.append(preview_row(self._check.bundle, row, file=place.file, number=place.row))
