"""A dataset in tokens of its base model, and rows shown with the tokens that loss falls on."""

from collections.abc import Sequence

from pydantic import Field

from shared.domain.model import Frozen


class Histogram(Frozen):
    """`counts[i]` values lie above `edges[i - 1]` and at or below `edges[i]`."""

    edges: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, edges: Sequence[int], counts: Sequence[int], longest: int) -> "Histogram":
        """From the first to the last bar that holds anything. `counts` has one bar more, for values above all edges."""
        used = [index for index, count in enumerate(counts) if count]
        shown = slice(used[0], used[-1] + 1) if used else slice(0)
        return cls(edges=(*edges, longest)[shown], counts=tuple(counts[shown]))


class TokenStatistics(Frozen):
    """Over the rows of the training file that are kept, after any cut. A pair counts as its longer side, but trains
    both answers; a prompt for reinforcement trains none. Where the template writes earlier turns anew, each answer
    counts as a row."""

    tokenizer_sha256: str = Field(description="tokenizer and chat template that counted")
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
    eval_tokens_max: int = Field(default=0, description="of the longest held-out row; where it is left out, its prompt")
    lengths: Histogram
    packed_sequences: int = Field(description="sequences of `limit` tokens (or of the longest row) that hold all rows")


class Piece(Frozen):
    """A stretch of a rendered row."""

    text: str
    has_loss: bool = Field(description="whether loss falls on it")


class PreviewRow(Frozen):
    """A row as the model reads it. Long stretches are shortened in their middle."""

    file: str = Field(description="train or eval")
    row: int = Field(description="from 1")
    tokens: int
    trained_tokens: int = Field(description="tokens that loss falls on")
    pieces: tuple[Piece, ...]
