"""What the method adds to a plan: its settings, memory and work. Formulas of public sources, measured on no machine."""

from collections.abc import Callable
from typing import Literal, TypeVar

from shared.domain.catalog import BaseModelEntry, find_entry
from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.recipe import (
    AUTO,
    Preference,
    Recipe,
    Reinforcement,
    ResolvedHyperparameters,
    ResolvedPreference,
    ResolvedReinforcement,
)

# Of the training rows those that choose the checkpoint, and are not trained on: share, least and most.
SELECTED, LEAST_SELECTED, MOST_SELECTED = 0.05, 8, 200
T = TypeVar("T", int, float, bool, str)
Reasons = dict[str, str]  # of each setting, in plain words

# Where the base model reads so much: those who ask may say more than any row does.
MIN_SERVED_TOKENS = 8192
PREFERENCE_BETA = 0.1
ROLLOUTS = 8
PADDED = "two answers of a pair, or the answers to a prompt, are compared row by row"
# A reference pass, forward only, beside the pass that is learned from, as a share of the latter's operations.
REFERENCE_WORK = 0.5
# Generated in batches by the training process itself; a server for that alone would be faster.
GENERATED_TOKENS_PER_S_LOW, GENERATED_TOKENS_PER_S_HIGH = 300.0, 4000.0


def pick(reasons: dict[str, str], name: str, given: T | Literal["auto"], automatic: T, why: str) -> T:
    """The recipe's value where it gives one, else the rule's; the reason is noted either way."""
    if given == "auto":
        reasons[name] = why
        return automatic
    reasons[name] = "set in the recipe"
    return given


def default_learning_rate(recipe: Recipe, entry: BaseModelEntry) -> tuple[float, str]:
    """Preference and reward push at what the model does already: they take far smaller steps than examples do."""
    match recipe.method:
        case Preference():
            return entry.defaults.preference_learning_rate, f"default of {entry.id} for preference pairs"
        case Reinforcement():
            return entry.defaults.reinforcement_learning_rate, f"default of {entry.id} for rewards"
    return entry.defaults.learning_rate, f"default of {entry.id}"


def selection_rows(rows: int) -> int:
    """How many of the training rows choose the checkpoint: never more than a fifth of them."""
    return min(max(round(SELECTED * rows), LEAST_SELECTED), MOST_SELECTED, rows // 5)


def answer_tokens(recipe: Recipe) -> tuple[int, str]:
    """Tokens an answer may take while training samples them, and why; none are sampled by the other methods."""
    if not isinstance(recipe.method, Reinforcement):
        return 0, "nothing is sampled"
    given = recipe.method.hyperparameters.max_new_tokens
    if given == AUTO:
        return recipe.evaluation.max_new_tokens, "what the evaluation allows an answer"
    return given, "set in the recipe"


def row_limit(recipe: Recipe) -> int:
    """Most tokens of a row where the recipe sets no length: what an answer that training samples leaves it."""
    context = find_entry(recipe.base_model).context_tokens
    return max(min(64, context), context - answer_tokens(recipe)[0])  # where an answer takes all, `of_method` refuses


def served_tokens(recipe: Recipe, longest: int, entry: BaseModelEntry) -> int:
    """Tokens of a prompt and its answer that the model is served with, where rows have at most `longest`."""
    answer = max(recipe.evaluation.max_new_tokens, answer_tokens(recipe)[0])
    return min(entry.context_tokens, max(MIN_SERVED_TOKENS, longest + answer))


def of_method(
    recipe: Recipe, entry: BaseModelEntry, common: ResolvedHyperparameters, rows: int, reasons: dict[str, str]
) -> ResolvedHyperparameters:
    """The settings every method has, completed by those of the recipe's. Raises PermanentFailure `exceeds_context`."""
    method = recipe.method
    if isinstance(method, Preference):
        reasons["packing"] = PADDED
        beta = pick(reasons, "beta", method.hyperparameters.beta, PREFERENCE_BETA, "as in the paper on DPO")
        return ResolvedPreference(**{**dict(common), "packing": "padded"}, beta=beta)
    if not isinstance(method, Reinforcement):
        return common
    given = method.hyperparameters
    reasons["packing"], reasons["lora_dropout"] = PADDED, "answers are sampled by the model that is trained"
    answer, reasons["max_new_tokens"] = answer_tokens(recipe)
    settings = {
        "packing": "padded",
        "lora_dropout": 0.0,
        "rollouts_per_prompt": pick(
            reasons, "rollouts_per_prompt", given.rollouts_per_prompt, ROLLOUTS, "enough answers to a prompt to compare"
        ),
        "temperature": pick(reasons, "temperature", given.temperature, 1.0, "answers are drawn as likely as they are"),
        "max_new_tokens": answer,
        "generation_batch_size": 1,  # more where they fit
        "beta": pick(reasons, "beta", given.beta, 0.0, "rewards by graders need no reference model"),
    }
    # Batches of prompts are whole: what is left of an epoch is drawn in the next.
    batch = min(common.batch_size, rows) if given.batch_size == AUTO else common.batch_size
    steps = max(1, rows // batch) * common.n_epochs
    chosen = ResolvedReinforcement(**{**dict(common), **settings, "batch_size": batch, "total_steps": steps})
    needed = chosen.max_length_tokens + chosen.max_new_tokens
    if needed > entry.context_tokens:
        message = f"prompt and answer may take {needed} tokens, {entry.id} reads {entry.context_tokens}"
        raise PermanentFailure(FailureClass.RECIPE, "exceeds_context", message, "max_new_tokens")
    return chosen


def rows_per_step(hyperparameters: ResolvedHyperparameters) -> int:
    """What a step's micro batches are parts of: rows, pairs, or answers to the step's prompts."""
    if isinstance(hyperparameters, ResolvedReinforcement):
        return hyperparameters.batch_size * hyperparameters.rollouts_per_prompt
    return hyperparameters.batch_size


def row_tokens(hyperparameters: ResolvedHyperparameters) -> int:
    """Most tokens that are learned from at once for one of `rows_per_step`."""
    if isinstance(hyperparameters, ResolvedReinforcement):
        return hyperparameters.max_length_tokens + hyperparameters.max_new_tokens
    return hyperparameters.max_length_tokens * (2 if isinstance(hyperparameters, ResolvedPreference) else 1)


def needs_reference(hyperparameters: ResolvedHyperparameters) -> bool:
    """Whether what is learned is compared with the model training starts from."""
    return isinstance(hyperparameters, ResolvedPreference | ResolvedReinforcement) and hyperparameters.beta > 0


def generation_bytes(hyperparameters: ResolvedHyperparameters, kv_bytes: int, vocab: int) -> int:
    """Keys and values of the answers that are sampled at once, and the sampler's float32 copies of logits."""
    if not isinstance(hyperparameters, ResolvedReinforcement):
        return 0
    return hyperparameters.generation_batch_size * (row_tokens(hyperparameters) * kv_bytes + 3 * 4 * vocab)


def sampling_widest(
    hyperparameters: ResolvedHyperparameters, fits: Callable[[ResolvedHyperparameters], bool], reasons: dict[str, str]
) -> ResolvedHyperparameters:
    """With as many answers sampled at once as fit, for a step of sampling costs the same for one as for many."""
    if not isinstance(hyperparameters, ResolvedReinforcement):
        return hyperparameters
    reasons["generation_batch_size"] = "as many of a step's answers as memory holds while they are sampled"
    answers = rows_per_step(hyperparameters)
    sizes = (size for size in range(answers, 0, -1) if answers % size == 0)
    wider = (hyperparameters.model_copy(update={"generation_batch_size": size}) for size in sizes)
    return next(filter(fits, wider), hyperparameters)


def work(hyperparameters: ResolvedHyperparameters, row_tokens_mean: float, *, most: bool) -> tuple[float, float]:
    """Tokens learned from, in supervised passes, and seconds of generating, of a row. `most`: the longest answers."""
    if isinstance(hyperparameters, ResolvedPreference):
        pair = row_tokens_mean * (2 if most else 1.5)  # a pair counts the tokens of the longer answer
        return pair * (1 + REFERENCE_WORK), 0.0
    if isinstance(hyperparameters, ResolvedReinforcement):
        answer = hyperparameters.max_new_tokens * (1 if most else 0.25)
        rollouts = hyperparameters.rollouts_per_prompt
        passes = 1 + REFERENCE_WORK * (hyperparameters.beta > 0)
        rate = GENERATED_TOKENS_PER_S_LOW if most else GENERATED_TOKENS_PER_S_HIGH
        return rollouts * (row_tokens_mean + answer) * passes, rollouts * answer / rate
    return row_tokens_mean, 0.0
