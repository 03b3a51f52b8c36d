"""What a run with a validated dataset would be: the recipe resolved and the cost, from what the report counted."""

from collections.abc import Callable
from functools import partial

from shared.domain.catalog import SKUS, Sku, find_entry, find_sku
from shared.domain.dataset import Plan, Statistics
from shared.domain.evaluation import smallest_gain
from shared.domain.planning.plan import can_train, estimate_cost, estimate_tokens, holds_merged, resolve
from shared.domain.recipe import AUTO, Recipe, ResolvedRecipe
from shared.domain.results import CostEstimate
from shared.domain.tokens import TokenStatistics


def plan_run(
    recipe: Recipe, project: str, rows: Statistics, tokens: TokenStatistics | None
) -> tuple[ResolvedRecipe, CostEstimate]:
    """Raises PermanentFailure as `resolve` does."""
    train_rows = tokens.rows if tokens else rows.train_rows
    resolved = resolve(
        recipe,
        project,
        train_rows=train_rows,
        characters_max=rows.characters_max,
        tokens_max=max(tokens.tokens_max, tokens.eval_tokens_max) if tokens else None,
    )
    cost_of = partial(
        estimate_cost,
        train_rows=train_rows,
        eval_rows=rows.eval_rows,
        tokens_mean=_tokens_mean(recipe.base_model, rows, tokens),
        counted=tokens is not None,
    )
    cost = cost_of(resolved)
    if cost.low_hours <= recipe.budget.deadline_hours or recipe.budget.instance_type != AUTO:
        return resolved, cost
    return _faster(resolved, cost, cost_of) or (resolved, cost)


def _tokens_mean(base_model: str, rows: Statistics, tokens: TokenStatistics | None) -> float:
    if tokens:
        return tokens.tokens_mean
    entry = find_entry(base_model)
    return estimate_tokens(entry, rows.characters_mean, rows.extra_bytes_mean, rows.messages_mean)


def in_short(
    resolved: ResolvedRecipe, cost: CostEstimate, rows: Statistics, tokens: TokenStatistics | None, independent: int
) -> Plan:
    """The same for the report. `independent`: held-out rows, or groups of them."""
    chosen = resolved.hyperparameters
    mean = _tokens_mean(resolved.requested.base_model, rows, tokens)
    return Plan(
        **chosen.model_dump(include={"n_epochs", "total_steps", "max_length_tokens"}),
        **cost.model_dump(include={"low_usd", "high_usd", "low_hours", "high_hours"}),
        rows_per_step=chosen.batch_size,
        tokens_per_step=round(chosen.batch_size * mean),
        training_instance_type=resolved.training_instance_type,
        smallest_gain=smallest_gain(independent, resolved.requested.evaluation.gate),
    )


def _faster(
    resolved: ResolvedRecipe, alone: CostEstimate, cost_of: Callable[[ResolvedRecipe], CostEstimate]
) -> tuple[ResolvedRecipe, CostEstimate] | None:
    """The same run where it is cheapest of the machines that may keep deadline and budget, if there is one. May, for
    the low end of the estimate decides, as the refusal of what no machine can keep is."""
    budget, keeping = resolved.requested.budget, []
    for sku in _others(resolved):
        candidate = resolved.model_copy(update={"training_instance_type": sku.name})
        estimate = cost_of(candidate)
        if estimate.low_hours <= budget.deadline_hours and estimate.low_usd <= budget.max_usd:
            keeping.append((candidate, estimate))
    if not keeping:
        return None
    chosen, estimate = min(keeping, key=lambda pair: pair[1].low_usd)
    machines = (find_sku(each.training_instance_type) for each in (resolved, chosen))
    slow, fast = (f"{sku.gpus} {sku.gpu}" for sku in machines)
    reason = (
        f"{slow} takes at least {alone.low_hours:.1f} h, allowed are {budget.deadline_hours:g} h; {fast} takes at "
        f"least {estimate.low_hours:.1f} h: the cheapest that may keep the deadline and {budget.max_usd:g} USD"
    )
    return chosen.model_copy(update={"reasons": {**chosen.reasons, "training_instance_type": reason}}), estimate


def _others(resolved: ResolvedRecipe) -> list[Sku]:
    """Machines whose every GPU holds the run as it was planned, and has rows of a batch to work on."""
    one, nodes = find_sku(resolved.training_instance_type), resolved.requested.budget.nodes
    entry = resolved.entry
    most = resolved.hyperparameters.batch_size // nodes if resolved.requested.method.type == "supervised" else 1
    return [
        sku
        for sku in SKUS
        if sku.gpus <= most
        and (sku.gpus >= one.gpus or resolved.hyperparameters.sharding == "none")
        and sku.memory_bytes >= one.memory_bytes
        and can_train(entry, sku)
        and holds_merged(entry, sku)
    ]
