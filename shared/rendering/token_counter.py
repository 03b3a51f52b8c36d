"""Token statistics over the rows that `TokenCheck` counted. Memory: four bytes a row."""

from array import array
from bisect import bisect_left, insort

from shared.domain.tokens import Histogram, TokenStatistics
from shared.rendering.check import RowTokens, TokenCheck

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
            self._lengths.append(row.kept)
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
