"""Rows that lie end to end in one sequence are attended apart."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.mark.parametrize("row_lengths", [[7], [3, 4], [1, 1, 5], [2, 2, 2, 1]])
def test_the_output_is_that_of_causal_attention_under_a_mask_that_parts_the_rows(
    torch: ModuleType, libraries: None, row_lengths: list[int]
) -> None:
    from training_job.model.attention import attend_within_rows

    torch.manual_seed(3)
    query, key, value = (torch.randn(1, 2, sum(row_lengths), 8) for _ in range(3))
    blocks = torch.block_diag(*(torch.ones(length, length) for length in row_lengths))
    mask = torch.tril(blocks).bool()
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    layer: Any = SimpleNamespace(is_causal=True, num_key_value_groups=1)
    found, weights = attend_within_rows(layer, query, key, value, None, row_lengths=row_lengths)
    assert weights is None
    assert found.shape == (1, sum(row_lengths), 2, 8)
    assert torch.allclose(found, expected, atol=1e-6)
