"""Bytes a run needs on each GPU, by part: estimates by formula, none of them measured on a machine of the catalog."""

import math

from shared.domain.catalog import Architecture, BaseModelEntry, reading_of
from shared.domain.model import Frozen
from shared.domain.planning.methods import generation_bytes, needs_reference, row_tokens
from shared.domain.recipe import ResolvedHyperparameters

# NF4 keeps 4 bit a weight plus 0.127 bit of doubly quantized constants (QLoRA, arXiv 2305.14314).
NF4_VALUE_BYTES = 0.5
NF4_BYTES = NF4_VALUE_BYTES + 0.016
GATHERED_LAYERS = 2
# Float32 weight 4 and gradient 4; two Adam moments 8, or 2 in 8 bit.
ADAPTER_BYTES = {"adamw": 16, "paged_adamw_8bit": 10}
RUNTIME_BYTES = 1_500_000_000  # CUDA context, allocator, kernels' workspaces
LOGITS_CHUNK_TOKENS = 1024  # the trainer's loss never holds more logits than this many tokens'
SCORE_BYTES = 8  # of each of a row's attention scores where they are stored: in float32, rounded, and capped
SERVING_REQUESTS = 8  # answered at once, each with its own keys and values


class MemoryPlan(Frozen):
    """Bytes on the training GPU by part: an estimate from formulas, not a measurement."""

    base_weights_bytes: int
    embeddings_bytes: int
    adapters_bytes: int
    activations_bytes: int
    logits_bytes: int
    workspace_bytes: int
    reference_bytes: int
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
    attention = {"q_proj": (hidden, query), "k_proj": (hidden, key_value), "v_proj": (hidden, key_value)}
    gated = {"gate_proj": (hidden, inner), "up_proj": (hidden, inner)}
    fused = reading_of(dims.model_type).fused
    if "qkv_proj" in fused:
        attention = {"qkv_proj": (hidden, query + 2 * key_value)}
    if "gate_up_proj" in fused:
        gated = {"gate_up_proj": (hidden, 2 * inner)}
    return {**attention, "o_proj": (query, hidden), **gated, "down_proj": (inner, hidden)}


def lora_parameters(entry: BaseModelEntry, rank: int) -> int:
    """Trainable parameters of an adapter of this rank on all linear modules, exact."""
    return entry.dims.layers * rank * sum(sum(shape) for shape in lora_targets(entry).values())


def memory_plan(
    entry: BaseModelEntry, hyperparameters: ResolvedHyperparameters, *, gpus: int = 1, continued: bool = False
) -> MemoryPlan:
    """Bytes training needs, by formula: linear weights in NF4 or as they are, the rest unquantized, float32 adapters.
    No score matrix is stored and logits come in chunks, but where rows are read plain. A micro batch has
    `micro_batch_size` rows of full length. `gpus` share a base that is sharded. `continued`: from another run's
    adapter."""
    dims, targets = entry.dims, lora_targets(entry)
    width = 4 if hyperparameters.compute_dtype == "float32" else 2
    tokens = hyperparameters.micro_batch_size * row_tokens(hyperparameters)
    linear = dims.layers * sum(inside * outside for inside, outside in targets.values())
    largest = max(inside * outside for inside, outside in targets.values())
    quantized, trained = hyperparameters.quantization == "nf4", lora_parameters(entry, hyperparameters.lora_rank)
    if hyperparameters.dora:  # one magnitude per output
        trained += dims.layers * sum(outside for _, outside in targets.values())
    plain = reading_of(dims.model_type).rows == "plain"
    activations = tokens * _activation_bytes(
        entry,
        width,
        hyperparameters.lora_rank,
        scores=dims.heads * row_tokens(hyperparameters) * plain,
        checkpointing=hyperparameters.gradient_checkpointing,
    )
    logits = min(tokens, LOGITS_CHUNK_TOKENS) * dims.vocab * 8  # value and gradient in float32
    if plain:  # the model's, what its caps keep, those of trained tokens, and their gradient
        logits = tokens * dims.vocab * (8 + 4 * width)
    weights = linear * (NF4_BYTES if quantized else width)
    shared, gathered = 0.0, 0.0
    if hyperparameters.sharding == "full":  # constants of 4 bit stay whole; one layer computes while the next comes
        shared = linear * NF4_VALUE_BYTES * (1 - 1 / gpus)
        gathered = GATHERED_LAYERS * linear / dims.layers * NF4_VALUE_BYTES
    generation = generation_bytes(hyperparameters, _kv_bytes(dims), dims.vocab)
    return MemoryPlan(
        base_weights_bytes=math.ceil(weights - shared),
        embeddings_bytes=(entry.parameters - linear) * width,
        # In 16 bit a copy of each adapter weight is kept for the backward pass.
        adapters_bytes=trained * (ADAPTER_BYTES[hyperparameters.optimizer] + 2 * (width == 2)),
        activations_bytes=activations,
        logits_bytes=logits,
        # One weight at a time: out of 4 bit, and for DoRA with its adapter merged, in float32.
        workspace_bytes=largest * (width * quantized + 2 * 4 * hyperparameters.dora) + math.ceil(gathered),
        reference_bytes=trained * 4 if continued and needs_reference(hyperparameters) else 0,
        generation_bytes=max(0, generation - activations - logits),  # answers are sampled while nothing is learned
    )


def _activation_bytes(entry: BaseModelEntry, width: int, rank: int, *, scores: int, checkpointing: bool) -> int:
    """Bytes per token at the peak of a step, term by term what autograd saves; a test counts a real step's. Frozen
    layers keep nothing. With checkpointing each keeps its input, and one at a time is computed again. Gradients of one
    come on top."""
    dims, targets = entry.dims, lora_targets(entry)
    query, key_value = dims.heads * dims.head_dim, dims.kv_heads * dims.head_dim
    inputs = (2 * dims.hidden + query + dims.intermediate) * width
    reading = reading_of(dims.model_type)
    norms = reading.norms * (dims.hidden + 1) * 4
    if reading.head_norms:
        norms += (query + key_value + dims.heads + dims.kv_heads) * 4
    attention = 2 * (query + key_value) * width + dims.heads * 4  # queries, keys, values, output; sums in float32
    if "qkv_proj" in targets:  # values are a view of all three, which stays whole
        attention += (query + key_value) * width
    layer = (
        inputs + norms + attention + scores * SCORE_BYTES + 3 * dims.intermediate * width + rank * width * len(targets)
    )
    gradients = 2 * width * (dims.intermediate + dims.hidden) + 3 * (reading.norms - 2) * dims.hidden
    kept = dims.layers * dims.hidden * width + layer if checkpointing else dims.layers * layer
    return kept + gradients


def serving_bytes(entry: BaseModelEntry, tokens: int, *, gpus: int = 1) -> int:
    """Bytes on each GPU to serve the merged 16-bit model: weights, keys and values of `SERVING_REQUESTS`, runtime."""
    divided = entry.parameters * 2 + _kv_bytes(entry.dims) * tokens * SERVING_REQUESTS
    return math.ceil(divided / gpus) + RUNTIME_BYTES


def _kv_bytes(dims: Architecture) -> int:
    return 2 * dims.layers * dims.kv_heads * dims.head_dim * 2
