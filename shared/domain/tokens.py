"""A dataset in tokens of its base model, and rows shown with the tokens that loss falls on."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Histogram(Frozen):
    """`counts[i]` values lie above `edges[i - 1]` and at or below `edges[i]`."""

    edges: tuple[int, ...]
    counts: tuple[int, ...]


class TokenStatistics(Frozen):
    """Over the rows of the training file that are kept, after any cut, unless said otherwise."""

    bundle_sha256: str = Field(description="tokenizer and chat template that counted")
    limit: int | None = Field(description="most tokens a row may have")
    over_length: str = Field(description="what happens to longer rows: reject, drop or truncate")
    rows: int
    rows_too_long: int = Field(description="rows beyond the limit, whatever happened to them")
    rows_truncated: int
    tokens: int
    trained_tokens: int = Field(description="tokens that loss falls on")
    tokens_mean: float
    tokens_median: int
    tokens_p95: int
    tokens_max: int
    lengths: Histogram
    packed_sequences: int = Field(description="sequences of `limit` tokens (or of the longest row) that hold all rows")


class Piece(Frozen):
    """A stretch of a rendered row."""

    text: str
    learned: bool = Field(description="whether loss falls on it")


class PreviewRow(Frozen):
    """A row as the model reads it. Long stretches are shortened in their middle."""

    file: str = Field(description="train or eval")
    row: int = Field(description="from 1")
    tokens: int
    trained_tokens: int
    pieces: tuple[Piece, ...]
