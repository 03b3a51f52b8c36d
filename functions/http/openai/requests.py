"""What a fine-tuning job may ask for, and the recipe that says the same."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from functions.http.errors import ApiError
from shared.domain.catalog import check_license, known_entry
from shared.domain.commands import MAX_KEY
from shared.domain.planning.methods import default_learning_rate
from shared.domain.recipe import AUTO, Auto, Name, Recipe
from shared.grading.engine import problems
from shared.validation.setting_errors import setting_errors

DEFAULT_PROJECT = "fine-tuning"
USE_CASE, INTENDED_USES = "use_case", "intended_uses"


class RequestPart(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SupervisedHyperparameters(RequestPart):
    n_epochs: int | Auto = AUTO
    batch_size: int | Auto = AUTO
    learning_rate_multiplier: Annotated[float, Field(gt=0)] | Auto = AUTO


class DpoHyperparameters(SupervisedHyperparameters):
    beta: float | Auto = AUTO


class ReinforcementJobHyperparameters(SupervisedHyperparameters):
    """The last four have no counterpart here: only what leaves them to the service is taken."""

    compute_multiplier: Auto = AUTO
    eval_interval: Auto = AUTO
    eval_samples: Auto = AUTO
    reasoning_effort: Literal["default"] = "default"


class SupervisedMethod(RequestPart):
    hyperparameters: SupervisedHyperparameters = SupervisedHyperparameters()


class DpoMethod(RequestPart):
    hyperparameters: DpoHyperparameters = DpoHyperparameters()


class ReinforcementMethod(RequestPart):
    grader: dict[str, Any]
    hyperparameters: ReinforcementJobHyperparameters = ReinforcementJobHyperparameters()


class MethodBlock(RequestPart):
    """`type`, and a block of the same name."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: SupervisedMethod | None = None
    dpo: DpoMethod | None = None
    reinforcement: ReinforcementMethod | None = None

    @model_validator(mode="after")
    def _only_its_own_block(self) -> "MethodBlock":
        others = {"supervised", "dpo", "reinforcement"} - {self.type}
        given = sorted(name for name in others if getattr(self, name) is not None)
        if given:
            raise ValueError(f"the method is {self.type}, and {given[0]} is given")
        if self.type == "reinforcement" and self.reinforcement is None:
            raise ValueError("a reinforcement method needs reinforcement.grader")
        self.supervised = self.supervised or (SupervisedMethod() if self.type == "supervised" else None)
        self.dpo = self.dpo or (DpoMethod() if self.type == "dpo" else None)
        return self


class JobRequest(RequestPart):
    """OpenAI's `fine_tuning.jobs.create`. `hyperparameters` is its older place for those of a supervised job."""

    model: str = Field(max_length=MAX_KEY)
    training_file: str = Field(max_length=MAX_KEY)
    validation_file: str | None = Field(default=None, max_length=MAX_KEY)
    method: MethodBlock | None = None
    hyperparameters: SupervisedHyperparameters | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    suffix: Name | None = None
    metadata: dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]] | None = Field(
        default=None, max_length=16
    )
    integrations: Annotated[list[Any], Field(max_length=0)] | None = None

    @model_validator(mode="after")
    def _hyperparameters_once(self) -> "JobRequest":
        if self.hyperparameters is not None and self.method is not None:
            raise ValueError("hyperparameters belong into method, and only there")
        return self

    @property
    def project(self) -> str:
        return self.suffix or DEFAULT_PROJECT

    @property
    def chosen(self) -> MethodBlock:
        """The method with its block, whichever way it was asked for."""
        block = SupervisedMethod(hyperparameters=self.hyperparameters or SupervisedHyperparameters())
        return self.method or MethodBlock(type="supervised", supervised=block)


def recipe_of(request: JobRequest, project_recipe: Recipe | None) -> Recipe:
    """The project's recipe with what the job asks for: model, method and seed.

    Gate, approval, deployment and budget stay the project's: a client of this API changes none of them.
    Raises ApiError 400.
    """
    entry = known_entry(request.model)
    if entry is None:
        raise ApiError(400, "model_not_found", f"{request.model} is not in the catalog of base models", "model")
    method = request.chosen
    block = getattr(method, method.type)
    chosen = block.hyperparameters.model_dump(include={"n_epochs", "batch_size", "beta"})
    given = {name: value for name, value in chosen.items() if value != AUTO}
    if request.seed is not None:
        given["seed"] = request.seed
    method_block: dict[str, Any] = {"type": method.type, "hyperparameters": given}
    if isinstance(block, ReinforcementMethod):
        method_block["graders"] = [block.grader]
    own = project_recipe.model_dump(mode="json", exclude_unset=True) if project_recipe else {}
    raw = {**own, "base_model": request.model, "method": method_block}
    metadata = request.metadata or {}
    raw |= {USE_CASE: metadata[USE_CASE]} if USE_CASE in metadata else {}
    if INTENDED_USES in metadata:  # beside the project's: a job has no fewer
        uses = (own.get(INTENDED_USES) or []) + metadata[INTENDED_USES].replace(",", " ").split()
        raw[INTENDED_USES] = list(dict.fromkeys(uses))
    recipe = _checked(raw)
    multiplier = block.hyperparameters.learning_rate_multiplier
    if multiplier != AUTO:
        given["learning_rate"] = multiplier * default_learning_rate(recipe, entry)[0]
        recipe = _checked(raw)
    for problem in check_license(entry.id, recipe.use_case, recipe.intended_uses):
        param = "metadata" if problem.param in (USE_CASE, INTENDED_USES) else "model"
        raise ApiError(400, problem.code, problem.message, param)
    return recipe


def _checked(raw: dict[str, Any]) -> Recipe:
    try:
        recipe = Recipe.model_validate(raw)
    except ValidationError as error:
        first = setting_errors(error, raw, Recipe)[0]
        path = first.path or "recipe"
        raise ApiError(400, "invalid_value", f"{path}: {first.text}", _request_path(path, raw)) from error
    rewards = recipe.method.graders if recipe.method.type == "reinforcement" else ()
    found = problems(rewards, "method.graders")
    if found:
        setting, message = found[0]
        raise ApiError(400, "invalid_grader", f"{setting}: {message}", _request_path(setting, raw))
    return recipe


def _request_path(path: str, raw: dict[str, Any]) -> str:
    """A path of our recipe as the path of the request that led there."""
    kind = raw["method"]["type"]
    if path.startswith("method.graders"):
        return path.replace("method.graders[0]", "method.reinforcement.grader", 1)
    return path.replace("method.hyperparameters", f"method.{kind}.hyperparameters", 1)
