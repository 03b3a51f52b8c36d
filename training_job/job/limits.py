"""What limits a run: the length of rows, the number of steps, the time kept for its end."""

import math

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.planning.methods import rows_per_step
from shared.domain.recipe import ResolvedHyperparameters, ResolvedReinforcement

FINISH_SHARE = 0.1  # kept for the last checkpoint, merging and comparing; the platform stops the job at the limit


def length_limit(hyperparameters: ResolvedHyperparameters, context: int | None) -> int:
    """Longest row in tokens, which must fit the model."""
    limit = hyperparameters.max_length_tokens
    if context is not None and limit > context:
        raise PermanentFailure(
            FailureClass.RECIPE,
            "max_length_beyond_context",
            f"max_length_tokens is {limit}, the model reads {context}",
            "method.hyperparameters.max_length_tokens",
        )
    return limit


def total_steps(hyperparameters: ResolvedHyperparameters, rows: int) -> int:
    """Optimizer steps; never more than the recipe promised, fewer when rows were dropped."""
    epoch = math.ceil(rows / hyperparameters.batch_size)
    if isinstance(hyperparameters, ResolvedReinforcement):  # batches of prompts are whole
        epoch = rows // hyperparameters.batch_size
    if not epoch:
        raise PermanentFailure(
            FailureClass.RECIPE,
            "batch_beyond_data",
            f"a batch of {hyperparameters.batch_size} prompts cannot be made of {rows}",
            "method.hyperparameters.batch_size",
        )
    if rows_per_step(hyperparameters) % hyperparameters.micro_batch_size:
        raise PermanentFailure(
            FailureClass.RECIPE,
            "batch_not_divisible",
            "batch_size must be a multiple of micro_batch_size",
            "method.hyperparameters.batch_size",
        )
    return min(epoch * hyperparameters.n_epochs, hyperparameters.total_steps)
