"""Rows that lie end to end in one sequence are attended apart."""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from training_job import patches


@pytest.mark.parametrize("window", [None, 1, 2, 4, 7])
@pytest.mark.parametrize("row_lengths", [None, [7], [3, 4], [1, 1, 5], [2, 2, 2, 1]])
def test_the_output_is_that_of_causal_attention_under_a_mask_that_parts_the_rows(
    torch: ModuleType, libraries: None, row_lengths: list[int] | None, window: int | None
) -> None:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    torch.manual_seed(3)
    query, key, value = (torch.randn(1, 2, 7, 8) for _ in range(3))
    blocks = torch.block_diag(*(torch.ones(length, length) for length in row_lengths or [7]))
    mask = torch.tril(blocks).triu(1 - (window or 7)).bool()
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    layer: Any = SimpleNamespace(is_causal=True, num_key_value_groups=1)
    options: Any = {"row_lengths": row_lengths, "sliding_window": window}
    found, weights = ALL_ATTENTION_FUNCTIONS[patches.row_attention()](layer, query, key, value, None, **options)
    assert weights is None
    assert found.shape == (1, 7, 2, 8)
    assert torch.allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("kind", "window"), [("mistral", 16), ("phi3", 16), ("mistral", None), ("llama", None)])
def test_training_reads_a_row_as_the_model_does_that_is_served(
    kind: str, window: int | None, torch: ModuleType, libraries: None
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    few = {"num_hidden_layers": 2, "vocab_size": 50, "pad_token_id": 0, "sliding_window": window}
    config = AutoConfig.for_model(kind, **sizes, **few)
    torch.manual_seed(3)
    served = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    rows = [torch.randint(1, 50, (length,)) for length in (5, 16, 17, 40)]
    with torch.inference_mode():
        expected = torch.cat([served(input_ids=row[None]).logits[0] for row in rows])
        served.set_attn_implementation(patches.row_attention())
        positions = torch.cat([torch.arange(len(row)) for row in rows])[None]
        ids, lengths = torch.cat(rows)[None], [len(row) for row in rows]
        found = served(input_ids=ids, position_ids=positions, row_lengths=lengths, use_cache=False).logits[0]
    assert torch.allclose(found, expected, atol=1e-5)
