"""The table of architectures: which base models an entry may be of."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from shared.domain.catalog import READINGS, Architecture, read_architecture, read_context, reading_of

SIZES = {"hidden": 8, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 8, "intermediate": 8, "vocab": 8}


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("llama4_text", "llama4_text: its router is a linear layer"),
        ("gpt_oss", "gpt_oss: 4 bit leaves fused experts"),
        ("mamba", "mamba: training does not know what its layers do"),
    ],
)
def test_an_entry_of_an_architecture_that_is_not_trained_or_not_planned_is_refused(kind: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Architecture.model_validate({"model_type": kind, **SIZES})


def test_every_architecture_that_is_not_packed_says_why() -> None:
    assert all(reading.why for reading in READINGS.values() if reading.rows != "packed")
    assert reading_of("none").rows is None


@pytest.mark.parametrize(("kind", "tied"), [("gemma3_text", True), ("llama", False), ("mamba", False)])
def test_embeddings_are_tied_as_transformers_has_it_where_the_file_says_nothing(kind: str, tied: bool) -> None:
    assert read_architecture({"model_type": kind})["tied"] is tied
    assert read_architecture({"model_type": kind, "tie_word_embeddings": not tied})["tied"] is not tied


def test_a_row_is_as_long_as_longrope_leaves_its_neighbors_positions() -> None:
    config = {"max_position_embeddings": 131_072, "original_max_position_embeddings": 4096}
    assert read_context({**config, "rope_scaling": {"type": "longrope"}}) == 4096
    assert read_context({**config, "rope_scaling": {"rope_type": "yarn"}}) == 131_072
