"""The platform's policy: what no recipe may go beyond, and the projects with their members and endpoints.

An administrator applies it as one document. A recipe can only be stricter.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import reduce
from math import inf
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from shared.domain.catalog import BaseModelEntry, Use
from shared.domain.errors import Problem
from shared.domain.model import MAX_PERSON, Frozen
from shared.domain.recipe import AUTO, SCALE_OUT_ABOVE, Name, Recipe, ResolvedRecipe

APP_ROLES = ("reader", "operator", "approver", "administrator")
# What the rows were read with before the policy is looked at: changed afterwards, it would say what was not done.
_READ_WITH_ROWS = ("base_model", "data.", "evaluation.pairs", "evaluation.slices")
# `auto` in a recipe: what was chosen counts.
_RESOLVED = {"budget.instance_type": "training_instance_type", "deployment.instance_type": "serving_instance_type"}
# What null stands for: a check that lets all pass, and never. Every other null is not within a limit,
_NULL = {
    "evaluation.gate.max_general_regression": inf,
    "evaluation.gate.max_memorized": inf,
    "evaluation.gate.gain_over_lookup": -inf,
    "evaluation.gate.min_pair_agreement": -inf,
    "deployment.idle_hours": inf,
}
# but of these: what they limit is not done at all, and no limit switches it on.
_OFF = ("deployment.max_instances", "deployment.scale_out_above", "retrain.every_days")
_INSTANCES, _MAX_INSTANCES = "deployment.instances", "deployment.max_instances"
_PLACE = r"^[a-z0-9][a-z0-9-]{2,62}(/[^/?#\s]+)+$"
_WITH_KINDS = ("data.personal_data", "data.harmful_content")  # each has a list of kinds that are allowed


class PolicyProblem(Frozen):
    """Something wrong with a policy, in plain words."""

    path: str = Field(description="dotted; empty for the whole")
    code: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path or 'policy'}: {self.message} ({self.code}). {self.remedy}"


def _refuse(errors: list[InitErrorDetails]) -> None:
    """Raises ValidationError with all of them, if there are any."""
    if errors:
        raise ValidationError.from_exception_data("policy", errors)


def _error(code: str, message: str, *where: str | int) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError(code, "{text}", {"text": message}), loc=where, input=None)


Pattern = Annotated[str, Field(max_length=200)]


class Limit(Frozen):
    """What a setting may be: numbers from `at_least` to `at_most`, texts as one of the shell patterns of `one_of`. Of a
    list, what each entry may be."""

    at_least: float | None = Field(default=None, allow_inf_nan=False)
    at_most: float | None = Field(default=None, allow_inf_nan=False)
    one_of: tuple[Pattern, ...] | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.one_of is None and self.at_least is None and self.at_most is None:
            _refuse([_error("policy_limit", "a limit has at_least, at_most or one_of")])
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            _refuse([_error("policy_limit", f"nothing is {self}")])
        return self

    def allows(self, value: Any) -> bool:
        """Whether it may be that."""
        if isinstance(value, tuple):
            return all(map(self.allows, value))
        if value is None or self.one_of is not None:
            return value is not None and any(fnmatchcase(str(value), pattern) for pattern in self.one_of or ())
        low, high = self.at_least, self.at_most
        return (low is None or value >= low) and (high is None or value <= high)

    def nearest(self, value: Any) -> Any:
        """What a setting that a recipe leaves open becomes; as it is if that is allowed, or only a pattern is given."""
        if self.allows(value) or isinstance(value, tuple) or (self.one_of and not self.texts()):
            return value
        if self.one_of is not None:
            return self.texts()[0]
        return self.at_least if self.at_least is not None and value < self.at_least else self.at_most

    def texts(self) -> list[str]:
        """Those of `one_of` that are no patterns."""
        return [text for text in self.one_of or () if not set(text) & set("*?[")]

    def __str__(self) -> str:
        if self.one_of is not None:
            return " or ".join(self.one_of)
        bounds = {"at least": self.at_least, "at most": self.at_most}
        return " and ".join(f"{name} {bound:g}" for name, bound in bounds.items() if bound is not None)


def setting_of(path: str) -> FieldInfo | None:
    """The setting of a recipe at a dotted path; None if it has none."""
    kind: Any = Recipe
    field: FieldInfo | None = None
    for name in path.split("."):
        is_section = isinstance(kind, type) and issubclass(kind, Frozen)
        field = kind.model_fields.get(name) if is_section else None
        kind = field.annotation if field else None
    return field


def is_number(field: FieldInfo) -> bool:
    """Whether a setting takes numbers alone."""
    kinds = json.dumps(_adapter(field).json_schema())
    return '"string"' not in kinds and '"object"' not in kinds


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    return TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]


def _about_settings(limits: dict[str, Limit]) -> dict[str, Limit]:
    errors = list[InitErrorDetails]()
    for path, limit in limits.items():
        field = setting_of(path)
        if field is None:
            errors.append(_error("policy_setting", f"a recipe has no setting {path}", path))
            continue
        setting = _adapter(field)
        if '"object"' in json.dumps(setting.json_schema()):
            errors.append(_error("policy_limit", f"{path} is no number, text or list of these", path))
            continue
        is_list = any(get_origin(kind) is tuple for kind in (field.annotation, *get_args(field.annotation)))
        for bound in (*limit.texts(), *(one for one in (limit.at_least, limit.at_most) if one is not None)):
            try:
                setting.validate_python((bound,) if is_list else bound)
            except ValidationError:
                errors.append(_error("policy_limit", f"{path} cannot be {bound}", path))
    _refuse(errors)
    return limits


Limits = Annotated[dict[Pattern, Limit], AfterValidator(_about_settings)]
# Entra object ids of persons and apps, `group:ID` of groups, or app roles: nothing that a person may change.
Members = tuple[Annotated[str, Field(min_length=1, max_length=MAX_PERSON)], ...]


class Rules(Frozen):
    """What limits recipes; a project's come on top of the platform's."""

    limits: Limits = Field(default={}, description="setting of a recipe, as `deployment.approval` -> what it may be")
    notify_hosts: tuple[Pattern, ...] | None = Field(
        default=None, description="hosts that subscriptions of projects may be at, as shell patterns; null: any"
    )
    intended_uses: tuple[Use, ...] = Field(default=(), description="what models are for, whatever a recipe says")

    def every_limit(self) -> dict[str, Limit]:
        """With those that follow from others: without them a limit would be sidestepped by another setting."""
        implied = dict[str, Limit]()
        for path, other in ((_INSTANCES, _MAX_INSTANCES), (_MAX_INSTANCES, _INSTANCES)):
            if (limit := self.limits.get(path)) and limit.at_most is not None:
                own = self.limits.get(other, limit.model_copy(update={"at_least": None}))
                implied[other] = own if own.at_most else own.model_copy(update={"at_most": limit.at_most})
        for path in _WITH_KINDS:
            if (limit := self.limits.get(path)) and not limit.allows("allow"):
                kinds = f"{path}_allowed"
                implied[kinds] = self.limits.get(kinds, Limit(one_of=("no kind",)))
        return self.limits | implied


class Project(Rules):
    """Members by Entra object id, `group:ID` or app role. Who is not named has no access to it."""

    owners: Members = Field(default=(), description="may do all that the others may")
    operators: Members = Field(default=(), description="start, cancel and retry runs, and roll back")
    approvers: Members = Field(default=(), description="approve and deny candidates")
    readers: Members = ()
    endpoints: tuple[Name, ...] = Field(default=(), description="that it owns beside the one of its own name")
    storage_accounts: tuple[Annotated[str, Field(max_length=400, pattern=_PLACE)], ...] = Field(
        default=(),
        max_length=50,
        description="from where events may have blobs copied into its drop zone: `ACCOUNT/CONTAINER`, a folder in it, "
        "or `onelake/WORKSPACE-ID`",
    )
    monthly_usd: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="null: the setting PROJECT_MONTHLY_USD"
    )
    retention_days: int | None = Field(
        default=None,
        ge=0,
        le=3650,
        description="days after its end in which a run that deployed nothing is kept, if it begins from now on; 0: for "
        "ever; null: the setting RUN_RETENTION_DAYS",
    )

    def members(self, role: str) -> tuple[str, ...]:
        """Who has the role `reader`, `operator`, `approver` or `owner`; nobody has another one by a project."""
        everybody = self.owners + self.operators + self.approvers + self.readers
        operators, approvers = self.owners + self.operators, self.owners + self.approvers
        return {"reader": everybody, "operator": operators, "approver": approvers, "owner": self.owners}.get(role, ())


class Team(Frozen):
    """Projects that spend one budget, beside their own."""

    projects: tuple[Name, ...] = Field(min_length=1)
    monthly_usd: float = Field(gt=0, allow_inf_nan=False)


class PlatformPolicy(Rules):
    """All of it. The one that nobody has applied limits nothing."""

    approvers: int = Field(
        default=1,
        ge=1,
        le=5,
        description="who must approve, beside who uploaded the files or asked for the run",
    )
    approvers_if_unknown: int = Field(
        default=2,
        ge=1,
        le=5,
        description="the same where a file did not come over the API: nobody knows whose it is",
    )
    monthly_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="of all projects; null: any")
    warn_at_percent: float = Field(
        default=80, gt=0, le=100, description="of a month's budget: the run that goes beyond it says so"
    )
    teams: dict[Name, Team] = {}
    runs_at_once: int = Field(
        default=20, ge=1, le=1000, description="of a project in validation and training; further drops wait"
    )
    review_every_license: bool = Field(default=False, description="a person accepts Apache-2.0 and the like too")
    shared_judges: tuple[Pattern, ...] | None = Field(
        default=None,
        description="endpoints that graders of all projects may ask, as shell patterns; null: those that are of none",
    )
    projects: dict[Name, Project] = {}
    base_models: tuple[BaseModelEntry, ...] = Field(
        default=(), max_length=50, description="the tenant's own, beside the catalog: docs/how-to/add-a-base-model.md"
    )

    @model_validator(mode="after")
    def _names_are_of_one_project(self) -> Self:
        owners, errors = {name: name for name in self.projects}, list[InitErrorDetails]()
        for name, project in self.projects.items():
            for number, endpoint in enumerate(project.endpoints):
                if (owner := owners.setdefault(endpoint, name)) != name:
                    message = f"endpoint {endpoint} is of {owner} and of {name}"
                    errors.append(_error("policy_endpoint", message, "projects", name, "endpoints", number))
        _refuse(errors)
        return self

    def own_base(self, id: str) -> BaseModelEntry | None:
        return next((entry for entry in self.base_models if entry.id == id), None)

    def owner(self, endpoint: str) -> str | None:
        """The project that an endpoint is of; None if the policy does not say."""
        named = (name for name, project in self.projects.items() if endpoint in (name, *project.endpoints))
        return next(named, None)

    def membership(self, project: str | None, role: str, person: Iterable[str]) -> tuple[str, ...]:
        """Which of these (object id, groups, app roles of a person) give the role in a project: those that it names, or
        in one that is not registered the app role, if there is one."""
        own = self.projects.get(project) if project else None
        role_of_app = (role,) if role in APP_ROLES else ()
        return tuple(sorted({*(own.members(role) if own else role_of_app)}.intersection(person)))

    def budgets(self, project: str, otherwise_usd: float | None) -> dict[str, float]:
        """What may be spent in a month by each that a run of the project is paid by: account -> USD."""
        own = self.projects.get(project)
        limits = {project: (own and own.monthly_usd) or otherwise_usd, "all projects": self.monthly_usd}
        limits |= {f"team {name}": team.monthly_usd for name, team in self.teams.items() if project in team.projects}
        return {name: usd for name, usd in limits.items() if usd is not None}

    def retention_days(self, project: str, otherwise: int) -> int:
        """How long a run of the project is kept after its end, if it deployed nothing; 0: for ever."""
        own = self.projects.get(project)
        return otherwise if own is None or own.retention_days is None else own.retention_days

    def rules(self, project: str) -> Mapping[str, Rules]:
        """Those that a recipe of the project is under, by who set them."""
        own = self.projects.get(project)
        return {"the platform": self} | ({f"project {project}": own} if own else {})

    def sets_floor(self, project: str) -> bool:
        """Whether a candidate of the project has to reach a score."""
        floors = [rules.limits.get("evaluation.gate.min_score") for rules in self.rules(project).values()]
        return any(limit and limit.at_least for limit in floors)

    def tightened(self, recipe: Recipe, project: str) -> tuple[Recipe, dict[str, str]]:
        """The recipe in which what it leaves open is as the policy wants it, and setting -> why it was changed."""
        changed, given = dict[str, str](), recipe
        for whose, path, limit in self._limits(project):
            value = _compared(recipe, path, project)
            if value is None or _is_given(given, path) or path in _RESOLVED or path.startswith(_READ_WITH_ROWS):
                continue
            if (target := limit.nearest(value)) != value:
                with suppress(ValidationError):  # it needs another setting: the violation says so
                    recipe = _with(recipe, path, target)
                    changed[path] = f"{_value(recipe, path)}: {whose} wants {limit}"
        return recipe, changed

    def violations(self, recipe: Recipe, project: str, resolved: ResolvedRecipe | None) -> Iterator[Problem]:
        """Each setting of a recipe that goes beyond a limit. Not `auto` where nothing was chosen for it yet."""
        for whose, path, limit in self._limits(project):
            value = _compared(recipe, path, project)
            if path in _RESOLVED and resolved is not None:
                value = getattr(resolved, _RESOLVED[path])
            is_off = (value is None and path in _OFF) or (path in _RESOLVED and value == AUTO)
            if not limit.allows(value) and not is_off:
                yield _violation(path, f"it is {_shown(value)}, {whose} wants {limit}")

    def host_problems(self, host: str, project: str | None) -> Iterator[str]:
        """Why nothing is sent to a host for the project. None: for subscriptions of all it is the platform's own."""
        for whose, rules in self.rules(project).items() if project else ():
            hosts = rules.notify_hosts
            if hosts is not None and not any(fnmatchcase(host, one) for one in hosts):
                yield f"{host} is none of those that {whose} allows: {', '.join(hosts) or 'no host'}"

    def _limits(self, project: str) -> Iterator[tuple[str, str, Limit]]:
        for whose, rules in self.rules(project).items():
            yield from ((whose, path, limit) for path, limit in rules.every_limit().items())


class PolicyInForce(Frozen):
    """What a run was held to. Version 0: no policy was applied."""

    version: int
    limits: dict[str, str] = Field(default={}, description="setting of the recipe -> what it has to be, and for whom")


class AppliedPolicy(Frozen):
    """A policy with its number, from 1; 0: none was applied."""

    version: int = 0
    policy: PlatformPolicy = PlatformPolicy()
    by: str | None = Field(default=None, description="who applied it")
    by_id: str | None = None
    at: AwareDatetime | None = None

    def in_force(self, project: str) -> PolicyInForce:
        """What runs of the project are held to."""
        limits = dict[str, str]()
        for whose, rules in self.policy.rules(project).items():
            hosts = None if rules.notify_hosts is None else " or ".join(rules.notify_hosts) or "no host"
            others = {"notify": hosts, "intended_uses": " and ".join(rules.intended_uses) or None}
            for path, text in {**rules.every_limit(), **others}.items():
                if text is not None:
                    before = f"{limits[path]}; " if path in limits else ""
                    limits[path] = f"{before}{text} ({whose})"
        return PolicyInForce(version=self.version, limits=limits)


def _violation(path: str, message: str) -> Problem:
    return Problem(code="policy", message=f"{path}: {message}", param=path)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "null" if value is None or value in (inf, -inf) else str(value)


def _compared(recipe: Recipe, path: str, project: str) -> Any:
    """What a limit of the setting looks at."""
    value = _value(recipe, path)
    if value is not None:
        return value
    if path == "deployment.endpoint":
        return project
    if path == "deployment.scale_out_above" and recipe.deployment.max_instances is not None:
        return SCALE_OUT_ABOVE
    return _NULL.get(path)


def _value(recipe: Recipe, path: str) -> Any:
    return reduce(getattr, path.split("."), recipe)


def _is_given(recipe: Recipe, path: str) -> bool:
    part: Any = recipe
    for name in path.split("."):
        if name not in part.model_fields_set:
            return False
        part = getattr(part, name)
    return True


def _with(recipe: Recipe, path: str, value: Any) -> Recipe:
    given = recipe.model_dump(mode="json", exclude_unset=True)
    *sections, name = path.split(".")
    section = reduce(lambda part, key: part.setdefault(key, {}), sections, given)
    section[name] = value
    return Recipe.model_validate(given)
