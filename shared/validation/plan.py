"""What a run with a validated dataset would be: the recipe resolved and the cost, from what the report counted."""

from shared.domain.catalog import find_entry
from shared.domain.cost import CostEstimate
from shared.domain.dataset import Plan, Statistics
from shared.domain.planning.machines import Counts, plan
from shared.domain.planning.plan import estimate_tokens
from shared.domain.recipe import Recipe, ResolvedRecipe
from shared.domain.tokens import TokenStatistics


def plan_run(
    recipe: Recipe, project: str, rows: Statistics, tokens: TokenStatistics | None
) -> tuple[ResolvedRecipe, CostEstimate]:
    """Raises PermanentFailure as `plan` does."""
    counts = Counts(
        train_rows=tokens.rows if tokens else rows.train_rows,
        eval_rows=rows.eval_rows,
        characters_max=rows.characters_max,
        tokens_mean=_tokens_mean(recipe.base_model, rows, tokens),
        tokens_max=max(tokens.tokens_max, tokens.eval_tokens_max) if tokens else None,
    )
    return plan(recipe, project, counts)


def _tokens_mean(base_model: str, rows: Statistics, tokens: TokenStatistics | None) -> float:
    if tokens:
        return tokens.tokens_mean
    entry = find_entry(base_model)
    return estimate_tokens(entry, rows.characters_mean, rows.extra_bytes_mean, rows.messages_mean)


def in_short(resolved: ResolvedRecipe, cost: CostEstimate, rows: Statistics, tokens: TokenStatistics | None) -> Plan:
    """The same for the report."""
    chosen = resolved.hyperparameters
    mean = _tokens_mean(resolved.requested.base_model, rows, tokens)
    return Plan(
        **chosen.model_dump(include={"n_epochs", "total_steps", "max_length_tokens"}),
        **cost.model_dump(include={"low_usd", "high_usd", "low_hours", "high_hours"}),
        rows_per_step=chosen.batch_size,
        tokens_per_step=round(chosen.batch_size * mean),
        training_instance_type=resolved.training_instance_type,
    )
