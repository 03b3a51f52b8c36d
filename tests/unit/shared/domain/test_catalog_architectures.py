"""The table of architectures: which base models an entry may be of."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.catalog import READINGS, read_architecture, read_context, reading_of, why_not_trained


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("llama4_text", "llama4_text: its router is a linear layer"),
        ("gpt_oss", "gpt_oss: 4 bit leaves fused experts"),
        ("mamba", "mamba: training does not know what its layers do"),
    ],
)
def test_an_architecture_that_is_not_trained_or_not_planned_has_a_reason(kind: str, why: str) -> None:
    assert why_not_trained(kind).startswith(why)
    assert why_not_trained("llama") == ""


def test_every_architecture_that_is_not_packed_says_why() -> None:
    assert all(reading.why for reading in READINGS.values() if reading.rows != "packed")
    assert reading_of("none").rows is None


@pytest.mark.parametrize("kind", [kind for kind, reading in READINGS.items() if reading.rows])
def test_dimensions_are_as_transformers_has_them_where_the_file_says_nothing(kind: str) -> None:
    from transformers import AutoConfig

    given: dict[str, Any] = {"hidden_size": 960, "num_attention_heads": 12}
    theirs, ours = AutoConfig.for_model(kind, **given), read_architecture({"model_type": kind, **given})
    head_dim = getattr(theirs, "head_dim", None) or 960 // 12
    expected = (theirs.num_key_value_heads, head_dim, theirs.tie_word_embeddings)
    assert (ours["kv_heads"], ours["head_dim"], ours["tied"]) == expected
    other = {"num_key_value_heads": 6, "head_dim": 16, "tie_word_embeddings": not expected[2]}
    ours = read_architecture({"model_type": kind, **given, **other})
    assert (ours["kv_heads"], ours["head_dim"], ours["tied"]) == tuple(other.values())


def test_a_row_is_as_long_as_longrope_leaves_its_neighbors_positions() -> None:
    config = {"max_position_embeddings": 131_072, "original_max_position_embeddings": 4096}
    assert read_context({**config, "rope_scaling": {"type": "longrope"}}) == 4096
    assert read_context({**config, "rope_scaling": {"rope_type": "yarn"}}) == 131_072
