"""Attention that stays within a row when rows lie end to end in one sequence.

A mask over a packed sequence costs the square of its length and rules out the fast kernels. Here each row is
attended apart, causally and without a mask: the cost is the sum of squares of the rows, a token of another row is
never read, and on a GPU torch takes its flash kernel. Import only where torch may be loaded.
"""

from __future__ import annotations

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
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Scaled dot product attention over `[batch, heads, tokens, head_dim]`; gives `[batch, tokens, heads, head_dim]`.

    `row_lengths` splits the tokens. None: one row each, padded on the right, where causality hides the padding.
    It has no default, so that a model loaded for training cannot be called without saying which it is.
    """
    assert attention_mask is None
    if row_lengths is None:
        return sdpa_attention_forward(module, query, key, value, None, **options)
    rows = zip(*(tensor.split(row_lengths, dim=2) for tensor in (query, key, value)), strict=True)
    outputs = [sdpa_attention_forward(module, q, k, v, None, **options)[0] for q, k, v in rows]
    return torch.cat(outputs, dim=1), None


# Without a mask function of the same name, transformers builds no mask.
AttentionInterface.register(NAME, attend_within_rows)
