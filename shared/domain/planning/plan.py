"""From a recipe and counted rows to a plan: every `auto` with its reason, memory, machine, cost. Memory and time are
formulas of public sources, measured on no machine of the catalog; the trainer logs its peak beside the estimate."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from shared.domain.catalog import CATALOG, SKUS, BaseModelEntry, Sku, find_entry, find_sku, reading_of
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.planning import methods
from shared.domain.planning.memory import SERVING_REQUESTS, memory_plan, serving_bytes
from shared.domain.planning.methods import Reasons, pick
from shared.domain.recipe import AUTO, Recipe, ResolvedHyperparameters, ResolvedRecipe, Tier
from shared.domain.results import CostEstimate

# Epoch heuristic of OpenAI's public dataset checker.
TARGET_EPOCHS = 3
SEEN_ROWS_MIN, SEEN_ROWS_MAX = 100, 25_000
EPOCHS_MAX = 25

HEADROOM = 0.25
SERVING_HEADROOM = 0.10

TEMPLATE_TOKENS = 128  # what a chat template adds around a row's text
MIN_STEPS = 50
PACKED: tuple[Literal["packed"], str] = (
    "packed",
    "no padding is computed; each row attends to itself alone, so the loss is that of padded rows",
)


@dataclass(frozen=True)
class Assumption:
    """One end of the range of an estimate. `models` answer the held-out rows; `most`: answers of the longest kind."""

    start_hours: float  # machine, image and weights, for each of two jobs
    tokens: float  # for each that is estimated; 4.5 to 2 characters a token
    # Share of the data sheet's operations a QLoRA run reaches: 25 to 40 % is reported for tuned set-ups
    # (NVIDIA NeMo, Answer.AI); the low end allows for short rows.
    utilization: float
    answer_tokens_per_s: float
    models: int
    most: bool


LOW = Assumption(0.1, 0.8, 0.35, 4000.0, 2, most=False)  # short answers, batched
HIGH = Assumption(0.5, 1.8, 0.10, 100.0, 3, most=True)


class TokenRates(NamedTuple):
    """Tokens of a character, of each byte of UTF-8 beyond its first, and of a message's markup."""

    character: float
    extra_byte: float
    message: float


# Vocabularies of 32,000 and more: 4 to 4.5 characters a token of English prose, 3 of code and other languages. The
# small one of the tiny base, fitted to the public files: 2 characters, nearly one token a byte beyond ASCII.
LARGE_VOCABULARY = TokenRates(1 / 3.6, 0.3, 5)
SMALL_VOCABULARY = TokenRates(0.5, 1.3, 5)
SMALL_TOKENS = 10_000
SPOT_REPEAT = 1.3  # work done again after an eviction


def resolve(
    recipe: Recipe,
    project: str,
    *,
    train_rows: int,
    characters_max: int,
    tokens_max: int | None = None,
    skus: tuple[Sku, ...] = SKUS,
) -> ResolvedRecipe:
    """Decide every `auto`, with its reason. `train_rows`: with those that choose the checkpoint; `characters_max`: text
    of the longest kept row, `tokens_max` where they were counted. Raises PermanentFailure: license
    (`unknown_base_model`, `license_denied`), recipe (`exceeds_context`, `does_not_fit`, `packing_not_possible`,
    `unknown_instance_type`, `multiple_gpus`, `multiple_nodes`, `batch_below_processes`)."""
    entry = find_entry(recipe.base_model)
    reasons: Reasons = {}
    longest = _max_length(entry, methods.row_limit(recipe), characters_max, tokens_max)
    planted = recipe.method.canaries if recipe.method.type == "supervised" else 0
    learned = train_rows - methods.selection_rows(train_rows) + planted
    requested = _hyperparameters(recipe, entry, learned, longest, reasons)
    machines = skus if recipe.budget.instance_type == AUTO else (_named_machine(recipe, skus),)
    sku, hyperparameters = _fit(recipe, entry, requested, machines, reasons)
    if recipe.budget.instance_type != AUTO:
        reasons["training_instance_type"] = "set in the recipe"
    _require_rows_for_all(recipe, sku, hyperparameters.batch_size)
    tokens = methods.served_tokens(recipe, hyperparameters.max_length_tokens, entry)
    serving = _serving_sku(recipe, entry, tokens, skus, reasons)
    return ResolvedRecipe(
        requested=recipe,
        base=None if entry.id in CATALOG else entry,
        project=project,
        endpoint=recipe.deployment.endpoint or project,
        hyperparameters=hyperparameters,
        training_instance_type=sku.name,
        serving_instance_type=serving.name,
        reasons=reasons,
    )


def _named_machine(recipe: Recipe, skus: tuple[Sku, ...]) -> Sku:
    """The machine the recipe asks for; several GPUs share a batch of the supervised trainer alone."""
    sku = find_sku(recipe.budget.instance_type, skus)
    if sku.gpus > 1 and recipe.method.type != "supervised":
        message = f"{recipe.method.type} trains on one GPU, {sku.name} has {sku.gpus}"
        raise PermanentFailure(FailureClass.RECIPE, "multiple_gpus", message, "budget.instance_type")
    return sku


def _require_rows_for_all(recipe: Recipe, sku: Sku, batch_size: int) -> None:
    """Several machines share a batch of the supervised trainer alone, and each process needs a row of it."""
    processes = recipe.budget.nodes * max(1, sku.gpus)
    if recipe.budget.nodes > 1 and recipe.method.type != "supervised":
        message = f"{recipe.method.type} trains on one machine, budget.nodes is {recipe.budget.nodes}"
        raise PermanentFailure(FailureClass.RECIPE, "multiple_nodes", message, "budget.nodes")
    if processes > batch_size:
        message = f"a batch of {batch_size} rows does not reach {processes} processes"
        raise PermanentFailure(FailureClass.RECIPE, "batch_below_processes", message, "budget.nodes")


def _hyperparameters(
    recipe: Recipe, entry: BaseModelEntry, train_rows: int, longest: tuple[int, str], reasons: Reasons
) -> ResolvedHyperparameters:
    """Everything but what depends on the machine: micro batch and checkpointing are `_fit`'s."""
    given, defaults = recipe.method.hyperparameters, entry.defaults
    rows = max(1, train_rows)
    epochs = pick(reasons, "n_epochs", given.n_epochs, *_epochs(rows))
    batch = pick(reasons, "batch_size", given.batch_size, *_batch_size(rows * epochs, defaults.batch_size))
    learning_rate = pick(reasons, "learning_rate", given.learning_rate, *methods.default_learning_rate(recipe, entry))
    rank = pick(reasons, "lora_rank", given.lora_rank, defaults.lora_rank, f"default of {entry.id}")
    length = pick(reasons, "max_length_tokens", given.max_length_tokens, *longest)
    if length > entry.context_tokens:
        message = f"max_length_tokens {length} is beyond the context of {entry.id}, {entry.context_tokens}"
        raise PermanentFailure(FailureClass.RECIPE, "exceeds_context", message, "max_length_tokens")
    reasons["compute_dtype"] = f"default of {entry.id}"
    reasons["optimizer"] = "set in the recipe" if given.optimizer != AUTO else "the moments of a small adapter fit"
    common = ResolvedHyperparameters(
        n_epochs=epochs,
        batch_size=batch,
        micro_batch_size=1,
        learning_rate=learning_rate,
        lora_rank=rank,
        lora_alpha=pick(reasons, "lora_alpha", given.lora_alpha, 2 * rank, "twice the rank"),
        rslora=pick(reasons, "rslora", given.rslora, True, "the adapter's scale does not shrink with its rank"),
        dora=pick(reasons, "dora", given.dora, False, "a quarter more time for no gain in PEFT's public benchmark"),
        lora_dropout=pick(reasons, "lora_dropout", given.lora_dropout, 0.0, "early stopping guards against overfit"),
        quantization=pick(
            reasons, "quantization", given.quantization, "nf4", "the base takes a quarter of its 16-bit memory"
        ),
        packing=pick(reasons, "packing", given.packing, *_packing(entry, given.packing)),
        optimizer="adamw" if given.optimizer == AUTO else given.optimizer,
        max_length_tokens=length,
        total_steps=math.ceil(rows / batch) * epochs,
        gradient_checkpointing=True,
        compute_dtype=defaults.compute_dtype,
        seed=given.seed,
    )
    return methods.of_method(recipe, entry, common, rows, reasons)


def _packing(entry: BaseModelEntry, given: str) -> tuple[Literal["packed", "padded"], str]:
    """What the base's architecture can do. Raises PermanentFailure (recipe, `packing_not_possible`)."""
    reading = reading_of(entry.architecture.model_type if entry.architecture else "")
    if reading.rows != "plain":
        return PACKED
    if given == "packed":
        message = f"rows of {entry.id} cannot be packed: {reading.why}"
        raise PermanentFailure(FailureClass.RECIPE, "packing_not_possible", message, "method.hyperparameters.packing")
    return "padded", f"rows of this architecture cannot be packed: {reading.why}"


def _epochs(rows: int) -> tuple[int, str]:
    if rows * TARGET_EPOCHS < SEEN_ROWS_MIN:
        epochs = min(EPOCHS_MAX, SEEN_ROWS_MIN // rows)
        return epochs, f"{rows} rows are few: about {SEEN_ROWS_MIN} are to be seen in all"
    if rows * TARGET_EPOCHS > SEEN_ROWS_MAX:
        epochs = max(1, SEEN_ROWS_MAX // rows)
        return epochs, f"{rows} rows are many: about {SEEN_ROWS_MAX} are to be seen in all"
    return TARGET_EPOCHS, f"{TARGET_EPOCHS} passes are the rule for {rows} rows"


def _batch_size(seen_rows: int, default: int) -> tuple[int, str]:
    """A power of two, so that it splits into equal micro batches."""
    limit = max(1, min(default, seen_rows // MIN_STEPS))
    size = 2 ** (limit.bit_length() - 1)
    if size < default:
        return size, f"{seen_rows} rows seen in all have to give about {MIN_STEPS} steps"
    return size, "default of the base model"


def _max_length(entry: BaseModelEntry, room: int, characters_max: int, tokens_max: int | None) -> tuple[int, str]:
    """The longest row's tokens, rounded up to 64; an upper bound where only its characters were counted. `room`: what
    the context leaves. `tokens_per_character` 4 is never exceeded (bytes of UTF-8), 1 is safe for prose in any large
    script: rows of rare symbols are found by the trainer's count and follow `data.over_length`."""
    if tokens_max is not None:
        return min(-(-tokens_max // 64) * 64, room), f"longest row has {tokens_max} tokens"
    tokens = math.ceil(characters_max * entry.tokens_per_character) + TEMPLATE_TOKENS
    tokens = -(-tokens // 64) * 64
    if tokens > room:
        return room, "what the model's context leaves: the longest row may need more"
    return tokens, (
        f"longest row has {characters_max} characters, at most {entry.tokens_per_character:g} token each, "
        f"and {TEMPLATE_TOKENS} for the template"
    )


def _fit(
    recipe: Recipe, entry: BaseModelEntry, requested: ResolvedHyperparameters, skus: tuple[Sku, ...], reasons: Reasons
) -> tuple[Sku, ResolvedHyperparameters]:
    """The cheapest machine that holds the run, then the fastest setting it allows; in parts only if none holds it."""
    free_optimizer = recipe.method.hyperparameters.optimizer == AUTO
    continued = recipe.method.continue_from == "champion"

    def needed(candidate: ResolvedHyperparameters, sku: Sku) -> int:
        return memory_plan(entry, candidate, gpus=sku.gpus, continued=continued).total_bytes

    supervised = type(requested) is ResolvedHyperparameters
    able = (sku for sku in skus if can_train(entry, sku) and holds_merged(entry, sku) and (supervised or sku.gpus <= 1))
    usable = sorted(able, key=lambda sku: sku.usd_per_hour)
    shardable = [sku for sku in usable if supervised and _can_shard(entry, requested, sku)]
    sharded = requested.model_copy(update={"sharding": "full"})
    for sku, hyperparameters in [*((sku, requested) for sku in usable), *((sku, sharded) for sku in shardable)]:

        def fits(candidate: ResolvedHyperparameters, sku: Sku = sku) -> bool:
            return needed(candidate, sku) <= sku.memory_bytes * (1 - HEADROOM)

        for candidate in filter(fits, _settings(hyperparameters, free_optimizer=free_optimizer)):
            chosen = methods.sampling_widest(candidate, fits, reasons)
            _explain_fit(sku, chosen, needed(chosen, sku), reasons)
            return sku, chosen
    least = memory_plan(entry, requested, continued=continued).total_bytes
    most = max((sku.memory_bytes for sku in usable), default=0)
    if not usable:
        message = f"no machine for this method holds the merged 16-bit model, {_gb(entry.parameters * 2)}"
        raise PermanentFailure(FailureClass.RECIPE, "does_not_fit", message, "base_model")
    message = (
        f"training {entry.id} with rows of {requested.max_length_tokens} tokens needs about {_gb(least)} on one "
        f"GPU; the largest in the catalog has {_gb(most)}, of which {HEADROOM:.0%} stay free. "
        "Lower max_length_tokens or lora_rank, or choose a smaller base model"
    )
    raise PermanentFailure(FailureClass.RECIPE, "does_not_fit", message, "method.hyperparameters")


def can_train(entry: BaseModelEntry, sku: Sku) -> bool:
    """Whether the machine has what the base model computes on, whatever its memory."""
    if entry.accelerator == "cpu":
        return sku.gpus == 0
    return sku.gpus > 0 and (sku.bfloat16 or entry.defaults.compute_dtype == "float32")


def holds_merged(entry: BaseModelEntry, sku: Sku) -> bool:
    """Whether all GPUs together hold the merged 16-bit model, which the training job makes and the evaluation asks."""
    return entry.parameters * 2 <= max(1, sku.gpus) * sku.memory_bytes * (1 - SERVING_HEADROOM)


def _can_shard(entry: BaseModelEntry, requested: ResolvedHyperparameters, sku: Sku) -> bool:
    """Runs in 4 bit of a base that each GPU holds whole while it is loaded, before it keeps its part."""
    whole = memory_plan(entry, requested)
    loaded = whole.base_weights_bytes + whole.embeddings_bytes + whole.runtime_bytes
    fits = loaded <= sku.memory_bytes * (1 - HEADROOM)
    return requested.quantization == "nf4" and 1 < sku.gpus <= requested.batch_size and fits


def _settings(requested: ResolvedHyperparameters, *, free_optimizer: bool) -> Iterator[ResolvedHyperparameters]:
    """Best first: no recomputation before recomputation, large micro batches before small ones, 8-bit moments last."""
    rows = methods.rows_per_step(requested)
    divisors = [size for size in range(rows, 0, -1) if rows % size == 0]
    for optimizer in ("adamw", "paged_adamw_8bit") if free_optimizer else (requested.optimizer,):
        for checkpointing in (False, True):
            for size in divisors:
                changes = {"micro_batch_size": size, "gradient_checkpointing": checkpointing, "optimizer": optimizer}
                yield requested.model_copy(update=changes)


def _explain_fit(sku: Sku, chosen: ResolvedHyperparameters, needed: int, reasons: Reasons) -> None:
    on_each = "" if sku.gpus <= 1 else f" on each of {sku.gpus} GPUs, and the merged model on all,"
    reasons["training_instance_type"] = (
        f"cheapest that holds about {_gb(needed)}{on_each} with {HEADROOM:.0%} to spare ({_gb(sku.memory_bytes)})"
    )
    reasons["sharding"] = (
        f"no single GPU holds the run: each of {sku.gpus} keeps a part of the base"
        if chosen.sharding == "full"
        else "one GPU holds the run"
    )
    if chosen.optimizer == "paged_adamw_8bit" and reasons["optimizer"] != "set in the recipe":
        reasons["optimizer"] = "the run fits only with the optimizer's moments in 8 bit"
    reasons["micro_batch_size"] = f"largest part of the batch that fits on {sku.name}"
    reasons["gradient_checkpointing"] = (
        "activations do not fit otherwise; costs about half as much time again"
        if chosen.gradient_checkpointing
        else "activations fit, so nothing is computed twice"
    )


def _serving_sku(recipe: Recipe, entry: BaseModelEntry, tokens: int, skus: tuple[Sku, ...], reasons: Reasons) -> Sku:
    needed = serving_bytes(entry, tokens)
    requested = recipe.deployment.instance_type
    if requested != "auto":
        usable = [find_sku(requested, skus)]
        reasons["serving_instance_type"] = "set in the recipe"
    else:
        usable = sorted(
            (sku for sku in skus if sku.online_endpoint and can_train(entry, sku)), key=lambda sku: sku.usd_per_hour
        )
        reasons["serving_instance_type"] = (
            f"cheapest that holds the 16-bit model and {SERVING_REQUESTS} requests of {tokens} tokens, "
            f"about {_gb(needed)}"
        )
    for sku in usable:
        gpus = max(1, sku.gpus)
        on_each = serving_bytes(entry, tokens, gpus=gpus)
        even = entry.dims.kv_heads % gpus == 0  # the server parts each layer by its heads
        if sku.online_endpoint and even and on_each <= sku.memory_bytes * (1 - SERVING_HEADROOM):
            return sku
    message = f"serving {entry.id} needs about {_gb(needed)}, more than an endpoint machine has"
    raise PermanentFailure(FailureClass.RECIPE, "does_not_fit", message, "deployment.instance_type")


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


def estimate_tokens(entry: BaseModelEntry, characters: float, extra_bytes: float, messages: float) -> float:
    """Tokens of a row that no tokenizer has counted."""
    rates = SMALL_VOCABULARY if entry.dims.vocab < SMALL_TOKENS else LARGE_VOCABULARY
    return characters * rates.character + extra_bytes * rates.extra_byte + messages * rates.message


def estimate_cost(
    resolved: ResolvedRecipe, *, train_rows: int, eval_rows: int, tokens_mean: float, counted: bool = False
) -> CostEstimate:
    """Range for both jobs; 0 USD on the laptop. Means are a row's; rows that choose the checkpoint count as learned,
    for they are read again and again. Low and high are `LOW` and `HIGH`, and (spot) work done again after an eviction.
    Operations per token: 4 per parameter for LoRA, 6 where checkpointing computes the forward pass again."""
    budget, sku = resolved.requested.budget, find_sku(resolved.training_instance_type)
    hourly = sku.price(spot=budget.tier == Tier.SPOT)
    again = {LOW: 1.0, HIGH: SPOT_REPEAT if budget.tier == Tier.SPOT else 1.0}

    def end(assumed: Assumption) -> tuple[float, float]:
        """Hours and USD."""
        row = tokens_mean * (1 if counted else assumed.tokens)
        start = assumed.start_hours * (sku.gpus > 0)
        training = start + _training_hours(resolved, sku, train_rows, row, assumed)
        answers = assumed.models * eval_rows * resolved.requested.evaluation.max_new_tokens
        evaluation = start + answers / assumed.answer_tokens_per_s / 3600
        hours, usd = training + evaluation, (training * budget.nodes + evaluation) * hourly
        return round(hours * again[assumed], 2), round(usd * again[assumed], 2)

    (low_hours, low_usd), (high_hours, high_usd) = end(LOW), end(HIGH)
    return CostEstimate(
        low_usd=low_usd, high_usd=high_usd, hourly_usd=hourly, low_hours=low_hours, high_hours=high_hours
    )


def _training_hours(resolved: ResolvedRecipe, sku: Sku, rows: int, row_tokens: float, assumed: Assumption) -> float:
    hyperparameters = resolved.hyperparameters
    entry = resolved.entry
    operations = entry.parameters * (6 if hyperparameters.gradient_checkpointing else 4)
    speed = sku.peak_flops * resolved.requested.budget.nodes * max(1, sku.gpus) * assumed.utilization
    learned, generation_s = methods.work(hyperparameters, row_tokens, most=assumed.most)
    return rows * hyperparameters.n_epochs * (learned * operations / speed + generation_s) / 3600


def check_budget(recipe: Recipe, estimate: CostEstimate) -> list[Problem]:
    """What the estimate already rules out: even its low end is beyond the budget or the deadline."""
    budget, problems = recipe.budget, []
    if estimate.low_usd > budget.max_usd:
        message = f"the run costs at least {estimate.low_usd:.2f} USD, the budget is {budget.max_usd:.2f} USD"
        problems.append(Problem(code="over_budget", message=message, param="budget.max_usd"))
    if estimate.low_hours > budget.deadline_hours:
        message = f"the run takes at least {estimate.low_hours:.1f} h, allowed are {budget.deadline_hours:g} h"
        problems.append(Problem(code="over_deadline", message=message, param="budget.deadline_hours"))
    return problems
