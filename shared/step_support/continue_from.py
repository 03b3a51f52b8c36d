"""method.continue_from: which run's adapter a training starts from."""

from shared.domain.errors import FailureClass, PermanentFailure
from shared.domain.recipe import ResolvedRecipe
from shared.ports import RunStore
from shared.records import endpoints, runs

# Decides what an adapter's matrices look like; another of these cannot be continued from.
SHAPE = ("lora_rank", "lora_alpha", "rslora", "dora")


def with_start(recipe: ResolvedRecipe, store: RunStore) -> ResolvedRecipe:
    """The recipe with the run it continues from. A later attempt keeps the one found first, whatever runs by then.

    Raises PermanentFailure of class recipe: `no_champion`, `other_base_model`, `adapter_differs`.
    """
    if recipe.requested.method.continue_from == "base" or recipe.continued_from is not None:
        return recipe
    record = endpoints.read(store, recipe.endpoint)
    run = runs.load(store, record.champion) if record else None
    champion = run.recipe if run else None
    if record is None or champion is None:
        raise _refusal("no_champion", f"there is no model in production at {recipe.endpoint} to continue from")
    if champion.project != recipe.project:  # the policy has given the endpoint to another one since
        raise _refusal("no_champion", f"the model in production at {recipe.endpoint} is of project {champion.project}")
    if champion.requested.base_model != recipe.requested.base_model:
        raise _refusal(
            "other_base_model",
            f"the model in production at {recipe.endpoint} was tuned from {champion.requested.base_model}, "
            f"this recipe tunes {recipe.requested.base_model}",
        )
    in_production, requested = champion.hyperparameters, recipe.hyperparameters
    if differing := [name for name in SHAPE if getattr(in_production, name) != getattr(requested, name)]:
        shape = ", ".join(f"{name}: {getattr(in_production, name)}" for name in differing)
        raise _refusal("adapter_differs", f"the adapter in production has {shape}; set the same in the recipe")
    return recipe.model_copy(update={"continued_from": record.champion})


def _refusal(code: str, message: str) -> PermanentFailure:
    return PermanentFailure(FailureClass.RECIPE, code, message, "method.continue_from")
