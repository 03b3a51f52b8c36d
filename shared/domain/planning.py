"""From a recipe and counted rows to a plan: every `auto` resolved with its reason, memory, machine, cost.

Memory and time are estimates by the formulas below, from public sources; none of it was measured on the
machines of the catalogue. The trainer logs its measured peak beside the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict

from shared.domain.catalogue import SKUS, Architecture, BaseModelEntry, Sku, find_entry, find_sku
from shared.domain.cost import CostEstimate
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.method_planning import (
    answer_tokens,
    default_learning_rate,
    generation_bytes,
    of_method,
    pick,
    row_tokens,
    rows_a_step,
    sampling_widest,
    work,
)
from shared.domain.recipe import AUTO, Recipe, ResolvedHyperparameters, ResolvedRecipe, Tier

# Epoch heuristic of OpenAI's public dataset checker.
TARGET_EPOCHS = 3
SEEN_ROWS_MIN, SEEN_ROWS_MAX = 100, 25_000
EPOCHS_MAX = 25

# NF4 keeps 4 bit a weight plus 0.127 bit of doubly quantised constants (QLoRA, arXiv 2305.14314).
NF4_BYTES = 0.516
# Float32 weight 4 and gradient 4; two Adam moments 8, or 2 in 8 bit.
ADAPTER_BYTES = {"adamw": 16, "paged_adamw_8bit": 10}
RUNTIME_BYTES = 1_500_000_000  # CUDA context, allocator, kernels' workspaces
LOGITS_CHUNK_TOKENS = 1024  # the trainer's loss never holds more logits than this many tokens'
HEADROOM = 0.25
SERVING_HEADROOM = 0.10
SERVING_REQUESTS = 8  # answered at once, each with its own keys and values

TEMPLATE_TOKENS = 128  # what a chat template adds around a row's text
MIN_STEPS = 50
PACKED = ("packed", "no padding is computed; each row attends to itself alone, so the loss is that of padded rows")

# Share of the data sheet's operations a QLoRA run reaches: 25 to 40 % is reported for tuned set-ups
# (NVIDIA NeMo, Answer.AI); the low end allows for short rows.
UTILISATION_LOW, UTILISATION_HIGH = 0.10, 0.35
CHARACTERS_PER_TOKEN_LOW, CHARACTERS_PER_TOKEN_HIGH = 2.0, 4.5
ANSWER_TOKENS_PER_S_LOW, ANSWER_TOKENS_PER_S_HIGH = 100.0, 4000.0  # high: short answers, batched
JOB_START_HOURS_LOW, JOB_START_HOURS_HIGH = 0.1, 0.5  # machine, image and weights, for each of two jobs
SPOT_REPEAT = 1.3  # work done again after an eviction


class MemoryPlan(BaseModel):
    """Bytes on the training GPU by part: an estimate from formulas, not a measurement."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_weights_bytes: int
    embeddings_bytes: int
    adapters_bytes: int
    activations_bytes: int
    logits_bytes: int
    workspace_bytes: int
    generation_bytes: int
    runtime_bytes: int = RUNTIME_BYTES

    @property
    def total_bytes(self) -> int:
        return sum(self.model_dump().values())


def lora_targets(entry: BaseModelEntry) -> dict[str, tuple[int, int]]:
    """All linear modules of one layer, each of which gets an adapter (QLoRA): name -> (in, out) features."""
    dims = entry.dims
    query, key_value = dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim
    hidden, inner = dims.hidden, dims.intermediate
    if dims.model_type == "phi3":  # Phi fuses what Llama and Mistral keep apart
        return {
            "qkv_proj": (hidden, query + 2 * key_value),
            "o_proj": (query, hidden),
            "gate_up_proj": (hidden, 2 * inner),
            "down_proj": (inner, hidden),
        }
    return {
        "q_proj": (hidden, query),
        "k_proj": (hidden, key_value),
        "v_proj": (hidden, key_value),
        "o_proj": (query, hidden),
        "gate_proj": (hidden, inner),
        "up_proj": (hidden, inner),
        "down_proj": (inner, hidden),
    }


def lora_parameters(entry: BaseModelEntry, rank: int) -> int:
    """Trainable parameters of an adapter of this rank on all linear modules, exact."""
    return entry.dims.layers * rank * sum(sum(shape) for shape in lora_targets(entry).values())


def memory_plan(entry: BaseModelEntry, hyperparameters: ResolvedHyperparameters) -> MemoryPlan:
    """Bytes training needs: linear weights in NF4 or as they are, embeddings and head unquantised, float32 adapters.

    An estimate by formula. It assumes attention that never stores the score matrix, and a loss that
    computes logits in chunks. A micro batch holds at most `micro_batch_size` rows of full length, packed or padded.
    """
    dims, targets = entry.dims, lora_targets(entry)
    width = 4 if hyperparameters.compute_dtype == "float32" else 2
    tokens = hyperparameters.micro_batch_size * row_tokens(hyperparameters)
    linear = dims.layers * sum(inside * outside for inside, outside in targets.values())
    largest = max(inside * outside for inside, outside in targets.values())
    quantised, trained = hyperparameters.quantisation == "nf4", lora_parameters(entry, hyperparameters.lora_rank)
    if hyperparameters.dora:  # one magnitude per output
        trained += dims.layers * sum(outside for _, outside in targets.values())
    activations = tokens * _activation_bytes(
        entry, width, hyperparameters.lora_rank, checkpointing=hyperparameters.gradient_checkpointing
    )
    logits = min(tokens, LOGITS_CHUNK_TOKENS) * dims.vocab * 8  # value and gradient in float32
    generation = generation_bytes(hyperparameters, _kv_bytes(dims), dims.vocab)
    return MemoryPlan(
        base_weights_bytes=math.ceil(linear * (NF4_BYTES if quantised else width)),
        embeddings_bytes=(entry.parameters - linear) * width,
        # In 16 bit a copy of each adapter weight is kept for the backward pass.
        adapters_bytes=trained * (ADAPTER_BYTES[hyperparameters.optimiser] + 2 * (width == 2)),
        activations_bytes=activations,
        logits_bytes=logits,
        # One weight at a time: out of 4 bit, and for DoRA with its adapter folded in, in float32.
        workspace_bytes=largest * (width * quantised + 2 * 4 * hyperparameters.dora),
        generation_bytes=max(0, generation - activations - logits),  # answers are sampled while nothing is learned
    )


def _activation_bytes(entry: BaseModelEntry, width: int, rank: int, *, checkpointing: bool) -> int:
    """Bytes per token at the peak of a step, term by term what autograd saves; a test counts a real step's.

    Frozen layers keep nothing; adapters with the same input share it. With checkpointing each layer keeps its input,
    and one layer at a time is computed again. On top come the gradients inside the layer that is on its way back.
    """
    dims, targets = entry.dims, lora_targets(entry)
    query, key_value = dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim
    inputs = (2 * dims.hidden + query + dims.intermediate) * width
    norms = 2 * (dims.hidden + 1) * 4
    attention = 2 * (query + key_value) * width + dims.heads * 4  # queries, keys, values, output; sums in float32
    if "qkv_proj" in targets:  # values are a view of all three, which stays whole
        attention += (query + key_value) * width
    layer = inputs + norms + attention + 3 * dims.intermediate * width + rank * width * len(targets)
    gradients = 2 * width * (dims.intermediate + dims.hidden)
    kept = dims.layers * dims.hidden * width + layer if checkpointing else dims.layers * layer
    return kept + gradients


def serving_bytes(entry: BaseModelEntry, tokens: int) -> int:
    """Bytes to serve the merged 16-bit model: weights, keys and values of `SERVING_REQUESTS`, runtime."""
    return entry.parameters * 2 + _kv_bytes(entry.dims) * tokens * SERVING_REQUESTS + RUNTIME_BYTES


def _kv_bytes(dims: Architecture) -> int:
    return 2 * dims.layers * dims.kv_heads * dims.head_dim * 2


def resolve(
    recipe: Recipe,
    project: str,
    *,
    train_rows: int,
    characters_max: int,
    tokens_max: int | None = None,
    skus: tuple[Sku, ...] = SKUS,
) -> ResolvedRecipe:
    """Decide every `auto`, each with its reason in plain words.

    `characters_max` is the text of the longest kept row, `tokens_max` its tokens where they were counted.
    Raises PermanentFailure: licence (`unknown_base_model`, `licence_denied`) or recipe (`beyond_context`,
    `does_not_fit`, `unknown_instance_type`, `several_gpus`).
    """
    entry = find_entry(recipe.base_model)
    reasons: dict[str, str] = {}
    context = entry.context_tokens
    room = max(min(64, context), context - answer_tokens(recipe)[0])  # where an answer takes all, `of_method` refuses
    longest = _max_length(entry, room, characters_max, tokens_max)
    wanted = _hyperparameters(recipe, entry, train_rows, longest, reasons)
    free_optimiser = recipe.method.hyperparameters.optimiser == AUTO
    machines = skus if recipe.budget.instance_type == AUTO else (_named_machine(recipe, skus),)
    sku, hyperparameters = _fit(entry, wanted, machines, reasons, free_optimiser=free_optimiser)
    if recipe.budget.instance_type != AUTO:
        reasons["training_instance_type"] = "set in the recipe"
    tokens = min(entry.context_tokens, hyperparameters.max_length_tokens + recipe.evaluation.max_new_tokens)
    serving = _serving_sku(recipe, entry, tokens, skus, reasons)
    return ResolvedRecipe(
        recipe=recipe,
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
        raise PermanentFailure(FailureClass.RECIPE, "several_gpus", message, "budget.instance_type")
    return sku


def _hyperparameters(
    recipe: Recipe, entry: BaseModelEntry, train_rows: int, longest: tuple[int, str], reasons: dict[str, str]
) -> ResolvedHyperparameters:
    """Everything but what depends on the machine: micro batch and checkpointing are `_fit`'s."""
    given, defaults = recipe.method.hyperparameters, entry.defaults
    rows = max(1, train_rows)
    epochs = pick(reasons, "n_epochs", given.n_epochs, *_epochs(rows))
    batch = pick(reasons, "batch_size", given.batch_size, *_batch_size(rows * epochs, defaults.batch_size))
    learning_rate = pick(reasons, "learning_rate", given.learning_rate, *default_learning_rate(recipe, entry))
    rank = pick(reasons, "lora_rank", given.lora_rank, defaults.lora_rank, f"default of {entry.id}")
    length = pick(reasons, "max_length_tokens", given.max_length_tokens, *longest)
    if length > entry.context_tokens:
        message = f"max_length_tokens {length} is beyond the context of {entry.id}, {entry.context_tokens}"
        raise PermanentFailure(FailureClass.RECIPE, "beyond_context", message, "max_length_tokens")
    reasons["compute_dtype"] = f"default of {entry.id}"
    reasons["optimiser"] = "set in the recipe" if given.optimiser != AUTO else "the moments of a small adapter fit"
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
        quantisation=pick(
            reasons, "quantisation", given.quantisation, "nf4", "the base takes a quarter of its 16-bit memory"
        ),
        packing=pick(reasons, "packing", given.packing, *PACKED),
        optimiser="adamw" if given.optimiser == AUTO else given.optimiser,
        max_length_tokens=length,
        total_steps=math.ceil(rows / batch) * epochs,
        gradient_checkpointing=True,
        compute_dtype=defaults.compute_dtype,
        seed=given.seed,
    )
    return of_method(recipe, entry, common, rows, reasons)


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
    """The longest row's tokens, rounded up to 64; an upper bound where only its characters were counted.

    `room` is what the context leaves to a row.
    `tokens_per_character` is 4 for the byte-level tiny base (a character has at most four UTF-8 bytes), which
    no text exceeds. It is 1 for the others: safe for prose in any large script, not for rows made of rare
    symbols; such rows are found by the trainer's count and follow `data.over_length`.
    """
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
    entry: BaseModelEntry,
    wanted: ResolvedHyperparameters,
    skus: tuple[Sku, ...],
    reasons: dict[str, str],
    *,
    free_optimiser: bool,
) -> tuple[Sku, ResolvedHyperparameters]:
    """The cheapest machine that holds the run, then the fastest setting it allows."""
    usable = [sku for sku in skus if _can_train(entry, sku)]
    for sku in sorted(usable, key=lambda sku: sku.usd_per_hour):
        limit = sku.memory_bytes * (1 - HEADROOM)

        def fits(candidate: ResolvedHyperparameters, limit: float = limit) -> bool:
            return memory_plan(entry, candidate).total_bytes <= limit

        for candidate in filter(fits, _settings(wanted, free_optimiser=free_optimiser)):
            chosen = sampling_widest(candidate, fits, reasons)
            _explain_fit(sku, chosen, memory_plan(entry, chosen).total_bytes, reasons)
            return sku, chosen
    least = memory_plan(entry, wanted).total_bytes
    most = max((sku.memory_bytes for sku in usable), default=0)
    message = (
        f"training {entry.id} with rows of {wanted.max_length_tokens} tokens needs about {_gb(least)} on one "
        f"GPU; the largest in the catalogue has {_gb(most)}, of which {HEADROOM:.0%} stay free. "
        "Lower max_length_tokens or lora_rank, or choose a smaller base model"
    )
    raise PermanentFailure(FailureClass.RECIPE, "does_not_fit", message, "method.hyperparameters")


def _can_train(entry: BaseModelEntry, sku: Sku) -> bool:
    if entry.accelerator == "cpu":
        return sku.gpus == 0
    return sku.gpus > 0 and (sku.bfloat16 or entry.defaults.compute_dtype == "float32")


def _settings(wanted: ResolvedHyperparameters, *, free_optimiser: bool) -> Iterator[ResolvedHyperparameters]:
    """Best first: no recomputation before recomputation, large micro batches before small ones, 8-bit moments last."""
    rows = rows_a_step(wanted)
    divisors = [size for size in range(rows, 0, -1) if rows % size == 0]
    for optimiser in ("adamw", "paged_adamw_8bit") if free_optimiser else (wanted.optimiser,):
        for checkpointing in (False, True):
            for size in divisors:
                changes = {"micro_batch_size": size, "gradient_checkpointing": checkpointing, "optimiser": optimiser}
                yield wanted.model_copy(update=changes)


def _explain_fit(sku: Sku, chosen: ResolvedHyperparameters, needed: int, reasons: dict[str, str]) -> None:
    reasons["training_instance_type"] = (
        f"cheapest that holds about {_gb(needed)} with {HEADROOM:.0%} to spare ({_gb(sku.memory_bytes)})"
    )
    if chosen.optimiser == "paged_adamw_8bit" and reasons["optimiser"] != "set in the recipe":
        reasons["optimiser"] = "the run fits only with the optimiser's moments in 8 bit"
    reasons["micro_batch_size"] = f"largest part of the batch that fits on {sku.name}"
    reasons["gradient_checkpointing"] = (
        "activations do not fit otherwise; costs about half as much time again"
        if chosen.gradient_checkpointing
        else "activations fit, so nothing is computed twice"
    )


def _serving_sku(
    recipe: Recipe,
    entry: BaseModelEntry,
    tokens: int,
    skus: tuple[Sku, ...],
    reasons: dict[str, str],
) -> Sku:
    needed = serving_bytes(entry, tokens)
    wanted = recipe.deployment.instance_type
    if wanted != "auto":
        usable = [find_sku(wanted, skus)]
        reasons["serving_instance_type"] = "set in the recipe"
    else:
        usable = sorted(
            (sku for sku in skus if sku.online_endpoint and _can_train(entry, sku)),
            key=lambda sku: sku.usd_per_hour,
        )
        reasons["serving_instance_type"] = (
            f"cheapest that holds the 16-bit model and {SERVING_REQUESTS} requests of {tokens} tokens, "
            f"about {_gb(needed)}"
        )
    for sku in usable:
        if sku.online_endpoint and needed <= sku.memory_bytes * (1 - SERVING_HEADROOM):
            return sku
    message = f"serving {entry.id} needs about {_gb(needed)} on one GPU of an endpoint machine"
    raise PermanentFailure(FailureClass.RECIPE, "does_not_fit", message, "deployment.instance_type")


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"


def estimate_cost(
    resolved: ResolvedRecipe,
    *,
    train_rows: int,
    eval_rows: int,
    characters_mean: float,
    tokens_mean: float | None = None,
    skus: tuple[Sku, ...] = SKUS,
) -> CostEstimate:
    """Range for the training and the evaluation job; 0 USD on the laptop. Means are a row's.

    Low and high differ in characters per token (where tokens were not counted), share of the data sheet's speed,
    start-up time, answers per second (and the length of those a reinforcement run samples), and (spot) work done again
    after an eviction. Operations per token: 4 per parameter for LoRA, 6 where gradient checkpointing computes the
    forward pass again.
    """
    recipe, sku = resolved.recipe, find_sku(resolved.training_instance_type, skus)
    entry, hyperparameters = find_entry(recipe.base_model), resolved.hyperparameters
    seen_rows = train_rows * hyperparameters.n_epochs
    operations = entry.parameters * (6 if hyperparameters.gradient_checkpointing else 4)
    answers = eval_rows * recipe.evaluation.max_new_tokens
    spot, gpus = recipe.budget.tier == Tier.SPOT, max(1, sku.gpus)

    def hours(start: float, per_token: float, utilisation: float, answer_rate: float, models: int, most: bool) -> float:
        row = characters_mean / per_token if tokens_mean is None else tokens_mean
        learned, generation_s = work(hyperparameters, row, most=most)
        train_s = seen_rows * (learned * operations / (sku.peak_flops * gpus * utilisation) + generation_s)
        return (2 * start if sku.gpus else 0.0) + (train_s + models * answers / answer_rate) / 3600

    low = hours(
        JOB_START_HOURS_LOW, CHARACTERS_PER_TOKEN_HIGH, UTILISATION_HIGH, ANSWER_TOKENS_PER_S_HIGH, 2, most=False
    )
    high = hours(
        JOB_START_HOURS_HIGH, CHARACTERS_PER_TOKEN_LOW, UTILISATION_LOW, ANSWER_TOKENS_PER_S_LOW, 3, most=True
    ) * (SPOT_REPEAT if spot else 1.0)
    hourly = sku.price(spot=spot)
    return CostEstimate(
        low_usd=round(low * hourly, 2),
        high_usd=round(high * hourly, 2),
        hourly_usd=hourly,
        hours_low=round(low, 2),
        hours_high=round(high, 2),
    )


def check_budget(recipe: Recipe, estimate: CostEstimate) -> list[Problem]:
    """What the estimate already rules out: even its low end is beyond the budget or the deadline."""
    budget, problems = recipe.budget, []
    if estimate.low_usd > budget.max_usd:
        message = f"the run costs at least {estimate.low_usd:.2f} USD, the budget is {budget.max_usd:.2f} USD"
        problems.append(Problem(code="over_budget", message=message, param="budget.max_usd"))
    if estimate.hours_low > budget.deadline_hours:
        message = f"the run takes at least {estimate.hours_low:.1f} h, allowed are {budget.deadline_hours:g} h"
        problems.append(Problem(code="over_deadline", message=message, param="budget.deadline_hours"))
    return problems
