"""What a trainer is built from."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.methods import rows_per_step
from shared.domain.recipe import ResolvedHyperparameters, ResolvedRecipe, ResolvedReinforcement
from shared.grading.llm_judge import Ask, no_judge

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Setup:
    """The settings of one run. `micro_batch_size` in rows: the recipe's, or less after running out of memory.
    `ask` reaches the judges of a reinforcement run. `selects`: there are rows that choose the checkpoint."""

    base_model: Path
    output: Path
    recipe: ResolvedRecipe
    tokenizer: "PreTrainedTokenizerBase"
    steps: int
    micro_batch_size: int
    continue_from: Path | None = None
    ask: Ask = no_judge
    selects: bool = True

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


_SETTINGS = "method.hyperparameters"
FINISH_SHARE = 0.1  # kept for the last checkpoint, merging and comparing; the platform stops the job at the limit


def length_limit(hyperparameters: ResolvedHyperparameters, context: int | None) -> int:
    """Longest row in tokens, which must fit the model."""
    limit = hyperparameters.max_length_tokens
    if context is not None and limit > context:
        message, param = f"max_length_tokens is {limit}, the model reads {context}", f"{_SETTINGS}.max_length_tokens"
        raise PermanentFailure(FailureClass.RECIPE, "max_length_beyond_context", message, param)
    return limit


def total_steps(hyperparameters: ResolvedHyperparameters, rows: int) -> int:
    """Optimizer steps; never more than the recipe promised, fewer when rows were dropped."""
    epoch = math.ceil(rows / hyperparameters.batch_size)
    if isinstance(hyperparameters, ResolvedReinforcement):  # batches of prompts are whole
        epoch = rows // hyperparameters.batch_size
    if not epoch:
        message = f"a batch of {hyperparameters.batch_size} prompts cannot be made of {rows}"
        raise PermanentFailure(FailureClass.RECIPE, "batch_beyond_data", message, f"{_SETTINGS}.batch_size")
    if rows_per_step(hyperparameters) % hyperparameters.micro_batch_size:
        message = "batch_size must be a multiple of micro_batch_size"
        raise PermanentFailure(FailureClass.RECIPE, "batch_not_divisible", message, f"{_SETTINGS}.batch_size")
    return min(epoch * hyperparameters.n_epochs, hyperparameters.total_steps)
