"""Judges that a recipe names: they must be there before anything is spent, and a job is told where they are."""

from collections.abc import Callable
from fnmatch import fnmatchcase

from shared.domain import paths
from shared.domain.errors import FailureClass, PermanentFailure, StoreConflict
from shared.domain.evaluation import JudgeEndpoint, Judges
from shared.domain.graders import judges_named
from shared.domain.jobs import chat_url
from shared.domain.recipe import Recipe, Reinforcement, ResolvedRecipe
from shared.domain.run import Run
from shared.ports import ModelHost, Services
from shared.records import policies
from shared.step_support.policy import endpoint_owner


def judges_of(recipe: Recipe, *, rewards: bool) -> list[str]:
    """Endpoints that an evaluation asks or, with `rewards`, a training, whose calibration asks the evaluation's too."""
    if not rewards:
        return judges_named(recipe.evaluation.graders)
    if not isinstance(recipe.method, Reinforcement):
        return []
    return judges_named((*recipe.method.graders, *recipe.evaluation.graders))


def require_judges(recipe: ResolvedRecipe, services: Services) -> None:
    """Raises PermanentFailure of class recipe, as `find_judge` and `require_own_or_shared`, and
    `judge_is_own_endpoint`: no model judges itself."""
    named = dict.fromkeys((*judges_of(recipe.requested, rewards=True), *judges_of(recipe.requested, rewards=False)))
    for name in named:
        if name == recipe.endpoint:
            message = f"{name} is where this run's own model goes; a judge has an endpoint of its own"
            raise PermanentFailure(FailureClass.RECIPE, "judge_is_own_endpoint", message, name)
        require_own_or_shared(name, recipe.project.__eq__, services)
        find_judge(name, services.models, FailureClass.RECIPE)


def require_own_or_shared(name: str, is_own: Callable[[str], bool], services: Services) -> None:
    """Rows and prompts go to a judge, and what it says comes back: it is of a project of which that is fine, or shared.

    Raises PermanentFailure `judge_of_another_project`, of class recipe.
    """
    policy = policies.read(services.store).policy
    owner, shared = endpoint_owner(name, policy, services.store), policy.shared_judges
    is_shared = owner is None if shared is None else any(fnmatchcase(name, one) for one in shared)
    if not (is_shared or (owner is not None and is_own(owner))):
        message = f"endpoint {name}, which a score_model grader names, is not of this project, and no shared judge"
        raise PermanentFailure(FailureClass.RECIPE, "judge_of_another_project", message, name)


def find_judge(name: str, models: ModelHost, failure_class: FailureClass) -> JudgeEndpoint:
    """The deployment that most of the traffic goes to.

    Raises PermanentFailure `judge_not_found`, or `judge_without_traffic`, of the class given.
    """
    view = models.get_endpoint(name)
    if view is None:
        message = f"the workspace has no online endpoint {name}, which a score_model grader names"
        raise PermanentFailure(failure_class, "judge_not_found", message, name)
    busiest = max(sorted(view.traffic), key=lambda one: view.traffic[one], default=None)
    deployment = None if busiest is None else models.get_deployment(name, busiest)
    if busiest is None or deployment is None:
        message = f"endpoint {name}, which a score_model grader names, sends its traffic to no deployment"
        raise PermanentFailure(failure_class, "judge_without_traffic", message, name)
    return JudgeEndpoint(
        endpoint=name, deployment=busiest, model=deployment.model or "", url=chat_url(view.scoring_uri)
    )


def tell_job(names: list[str], job: str, run: Run, services: Services) -> None:
    """Write where a job's judges are; a repeated submission leaves what the job may have read already."""
    if not names:
        return
    for name in names:
        require_own_or_shared(name, run.project.__eq__, services)
    found = Judges(judges=tuple(find_judge(name, services.models, FailureClass.PLATFORM) for name in names))
    try:
        services.blobs.write(paths.judges(run.id, job), [found.model_dump_json().encode()], if_absent=True)
    except StoreConflict:
        return


def as_input(names: list[str], job: str, run: Run) -> tuple[str, dict[str, str]]:
    """What the judges add to a job's command and to its inputs."""
    if not names:
        return "", {}
    return " --judges ${{inputs.judges}}", {"judges": paths.datastore_uri(paths.judges(run.id, job))}
