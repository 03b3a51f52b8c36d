"""Attention that stays within a row when rows lie end to end in one sequence.

A mask over a packed sequence costs the square of its length and rules out the fast kernels. Here each row is
attended apart, causally, and without a mask unless it is longer than the model's window: the cost is the sum of
squares of the rows, no other row is read, and on a GPU torch takes its flash kernel. Import only with torch.
"""

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

NAME = "droptune_rows"


def attend_within_rows(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    row_lengths: list[int] | None,
    sliding_window: int | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot product attention over `[batch, heads, tokens, head_dim]`; gives `[batch, tokens, heads, head_dim]`.

    `row_lengths` splits the tokens. None: one row each, padded on the right, where causality hides the padding.
    It has no default, so that a model loaded for training cannot be called without saying which it is.
    """
    assert attention_mask is None
    lengths = row_lengths or [query.shape[2]]
    rows = zip(*(tensor.split(lengths, dim=2) for tensor in (query, key, value)), strict=True)
    outputs = [sdpa_attention_forward(module, q, k, v, _window(q, sliding_window), **options)[0] for q, k, v in rows]
    return torch.cat(outputs, dim=1), None


def _window(query: torch.Tensor, width: int | None) -> torch.Tensor | None:
    """Mask `[1, 1, tokens, tokens]` of a row that is longer than the model looks back."""
    tokens = query.shape[2]
    if width is None or tokens <= width:
        return None
    return torch.ones(tokens, tokens, dtype=torch.bool, device=query.device).tril().triu(1 - width)[None, None]


# Without a mask function of the same name, transformers builds no mask.
AttentionInterface.register(NAME, attend_within_rows)
