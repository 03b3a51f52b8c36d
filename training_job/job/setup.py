"""What a trainer is built from."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.domain.recipe import ResolvedHyperparameters, ResolvedRecipe
from shared.grading import Ask
from shared.grading.llm_judge import no_judge

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Setup:
    """The settings of one run. `micro_batch_size` in rows: the recipe's, or less after running out of memory.
    `ask` reaches the judges of a reinforcement run."""

    base_model: Path
    output: Path
    recipe: ResolvedRecipe
    tokenizer: "PreTrainedTokenizerBase"
    steps: int
    micro_batch_size: int
    continue_from: Path | None = None
    ask: Ask = no_judge

    @property
    def hyperparameters(self) -> ResolvedHyperparameters:
        return self.recipe.hyperparameters

    @property
    def quantize(self) -> bool:
        """Whether the base is trained in 4 bit."""
        return self.hyperparameters.quantization == "nf4"

    @property
    def dtype(self) -> "torch.dtype":
        import torch

        dtype: torch.dtype = getattr(torch, self.hyperparameters.compute_dtype)
        return dtype
