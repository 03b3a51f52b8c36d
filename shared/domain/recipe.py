"""The recipe: what a project wants done with its data, and the same with every `auto` resolved."""

import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from shared.domain.beside import read_beside
from shared.domain.catalog import BaseModelEntry, Use, find_entry
from shared.domain.graders import Grader, StringCheck, judges_named
from shared.domain.model import Finite

Auto = Literal["auto"]
ANSWER_TOKENS_MAX = 4096  # of evaluation.max_new_tokens
AUTO: Auto = "auto"
SCALE_OUT_ABOVE = 70.0  # of deployment.scale_out_above
PAIR_NAME = "name"  # the row field that tells the rows of evaluation.pairs apart

# Azure docs, "Manage and increase quotas": an endpoint's name has 3 to 32 characters, begins with a letter and holds
# single dashes. DNS knows no case. The project names its endpoint by default, and its model.
NAME, _SHORTEST, _LONGEST = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", 3, 32
Name = Annotated[str, Field(min_length=_SHORTEST, max_length=_LONGEST, pattern=NAME)]


def is_name(text: str) -> bool:
    return _SHORTEST <= len(text) <= _LONGEST and re.fullmatch(NAME, text) is not None


class Tier(StrEnum):
    SPOT = "spot"
    DEDICATED = "dedicated"


Fraction = Annotated[float, Field(ge=0, le=1)]
Machines = Annotated[int, Field(ge=1, le=100)]


def _auto(description: str) -> Any:
    """A setting that is resolved from the data and the base model."""
    return Field(default=AUTO, description=description)


def _optional(description: str) -> Any:
    return Field(default=None, description=description)


class Hyperparameters(Finite):
    """LoRA and QLoRA settings every method has; `auto` is resolved from the data and the base model."""

    n_epochs: Annotated[int, Field(ge=1, le=25)] | Auto = _auto(
        "passes over the rows; auto: 3 for most sizes. Raise it for small, exact tasks"
    )
    batch_size: Annotated[int, Field(ge=1, le=1024)] | Auto = _auto(
        "rows per optimizer step; auto: by the number of rows"
    )
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | Auto = _auto(
        "highest learning rate; auto: the base model's own for the method"
    )
    lora_rank: Annotated[int, Field(ge=1, le=256)] | Auto = _auto("rank of the adapter; auto: by the number of rows")
    lora_alpha: Annotated[int, Field(ge=1, le=1024)] | Auto = _auto("scale of the adapter; auto: twice the rank")
    rslora: bool | Auto = _auto("scale by alpha / sqrt(rank) instead of alpha / rank; auto: true")
    dora: bool | Auto = _auto("adapt magnitude and direction of each weight apart; auto: false")
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] | Auto = _auto(
        "share of the adapter's inputs that a step drops; auto: 0"
    )
    quantization: Literal["nf4", "none"] | Auto = _auto(
        "nf4: QLoRA, the base in 4 bit; none: LoRA on the base as it is; auto: nf4"
    )
    packing: Literal["packed", "padded"] | Auto = _auto(
        "packed: rows of a micro batch end to end; padded: filled up to the longest; auto: packed"
    )
    optimizer: Literal["adamw", "paged_adamw_8bit"] | Auto = _auto(
        "auto: adamw, or paged_adamw_8bit where nothing else fits"
    )
    max_length_tokens: Annotated[int, Field(ge=16, le=131_072)] | Auto = _auto(
        "longest row; longer ones follow data.over_length; auto: by the data"
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        default=42, description="of the order of rows, of sampling and of the rows that are held out"
    )


class PreferenceHyperparameters(Hyperparameters):
    """Settings of DPO (arXiv 2305.18290)."""

    packing: Literal["padded"] | Auto = _auto("pairs are padded")
    beta: Annotated[float, Field(gt=0, le=10)] | Auto = _auto(
        "how much a difference from the starting model costs; auto: 0.1"
    )


class ReinforcementHyperparameters(Hyperparameters):
    """Settings of GRPO (arXiv 2402.03300). A batch is of prompts, each answered `rollouts_per_prompt` times."""

    packing: Literal["padded"] | Auto = _auto("answers are padded")
    lora_dropout: Annotated[float, Field(ge=0, le=0)] | Auto = _auto(
        "none: answers are sampled by the model that is trained"
    )
    rollouts_per_prompt: Annotated[int, Field(ge=2, le=64)] | Auto = _auto(
        "answers to one prompt, whose rewards are compared; auto: 8"
    )
    temperature: Annotated[float, Field(gt=0, le=2)] | Auto = _auto("of the answers that are rewarded; auto: 1")
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] | Auto = _auto(
        "longest answer that is rewarded; auto: evaluation.max_new_tokens"
    )
    beta: Annotated[float, Field(ge=0, le=10)] | Auto = _auto(
        "weight of the divergence from the starting model; 0: none, and no second pass; auto: 0"
    )


class _Method(Finite):
    continue_from: Literal["base", "champion"] = Field(
        default="base", description="champion: continue from the adapter of the model in production at the endpoint"
    )


class Supervised(_Method):
    """The answers of the rows are learned."""

    type: Literal["supervised"] = "supervised"
    hyperparameters: Hyperparameters = Hyperparameters()
    canaries: Annotated[int, Field(ge=0, le=20)] = Field(
        default=0,
        description="made-up records with a random number that are planted among the training rows; a model that says "
        "one of these numbers is refused: see docs/explanation/evaluation.md",
    )


class Preference(_Method):
    """Direct preference optimization: the preferred of two answers is made likelier than the other."""

    type: Literal["dpo"]
    hyperparameters: PreferenceHyperparameters = PreferenceHyperparameters()


class Reinforcement(_Method):
    """The model's own answers are rewarded by graders."""

    type: Literal["reinforcement"]
    graders: tuple[Grader, ...] = Field(min_length=1, description="their weighted mean is the reward")
    hyperparameters: ReinforcementHyperparameters = ReinforcementHyperparameters()

    @model_validator(mode="after")
    def _grader_names_are_unique(self) -> "Reinforcement":
        _refuse_equal_names(self.graders)
        return self


def _refuse_equal_names(graders: tuple[Grader, ...]) -> None:
    names = [grader.name for grader in graders]
    if len(set(names)) != len(names):
        raise ValueError(f"grader names must be unique, got {names}")


def _method_type(given: Any) -> str:
    return str(given.get("type", "supervised") if isinstance(given, dict) else getattr(given, "type", "supervised"))


Method = Annotated[
    Annotated[Supervised, Tag("supervised")]
    | Annotated[Preference, Tag("dpo")]
    | Annotated[Reinforcement, Tag("reinforcement")],
    Discriminator(
        _method_type,
        custom_error_type="method_type",
        custom_error_message="Input should be 'supervised', 'dpo' or 'reinforcement'",
    ),
]


PersonalDataKind = Literal[
    "payment_card",
    "iban",
    "us_ssn",
    "nhs_number",
    "phone",
    "email",
    "ipv4",
    "ipv6",
    "medical_record_number",
    "passport",
    "driving_license",
    "date_of_birth",
    "clinical_date",
]


HarmfulKind = Literal["weapons", "drugs", "violence", "self_harm", "minors", "malware", "crime", "hate"]


Action = Literal["block", "redact", "allow"]
NameKind = Literal["person", "place", "postal_address"]


class Deidentify(Finite):
    """Persons, places and postal addresses, which the validation job finds in English text with a model."""

    policy: Action = Field(
        default="redact",
        description="block: a finding rejects the data; redact: placeholders stand for what is found; allow: counted",
    )
    types: tuple[NameKind, ...] = Field(
        default=("person", "place", "postal_address"), min_length=1, description="what is searched for"
    )


def _known_encoding(name: str) -> str:
    try:
        "".encode(name)
    except LookupError:
        raise ValueError(f"{name} is no encoding of text that Python knows") from None
    return name


Column = Literal["system", "context", "user", "assistant", "chosen", "rejected", "messages", "tools", "text"]


class Data(Finite):
    """How rows are read."""

    format: Literal[
        "auto", "chat", "prompt_completion", "alpaca", "sharegpt", "text", "preference", "reinforcement"
    ] = _auto("auto: guessed from the first rows, and shown in the report")
    encoding: Annotated[str, AfterValidator(_known_encoding)] | None = _optional(
        "of text files that are not UTF-8, by its name in Python, for example `cp1250`, `cp1254`, "
        "`mac_roman`, `shift_jis` or `gb18030`; null: of a table it is guessed, and the report says so"
    )
    columns: dict[str, Column] = Field(
        default={},
        description="fields of the file that have names of their own, and what each is, for example "
        "`{query: user, response: assistant}`",
    )
    over_length: Literal["reject", "drop", "truncate"] = Field(
        default="reject", description="rows beyond max_length_tokens: refuse the data, leave them out, or cut them"
    )
    personal_data: Action = Field(
        default="block",
        description="what is done with personal data that is found: see docs/explanation/content-scan.md",
    )
    personal_data_allowed: tuple[PersonalDataKind, ...] = Field(
        default=(), description="kinds that were reviewed and stay as they are, whatever the value of personal_data"
    )
    deidentify: Deidentify | None = _optional(
        "search for names and addresses with a model, for example `{policy: redact}`: see "
        "docs/how-to/de-identify-names.md; null: they are not searched for"
    )
    secrets: Action = Field(default="block", description="what is done with keys, tokens and passwords that are found")
    harmful_content: Literal["block", "allow"] = Field(
        default="allow",
        description="what is done with answers that do what a harmful request asks, threaten or show contempt: see "
        "docs/explanation/content-scan.md",
    )
    harmful_content_allowed: tuple[HarmfulKind, ...] = Field(
        default=(), description="kinds that were reviewed and stay, whatever the value of harmful_content"
    )
    mode: Literal["replace", "append"] = Field(
        default="replace",
        description="append: new rows are added to those of the project's last deployed run, copies left out",
    )
    validation_split: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        default=0.1,
        description="share of the rows that is held out, by seed, when the project has no held-out file; more where "
        "evaluation.gate.min_rows needs more, 40 % at most",
    )
    split_group: str | None = _optional(
        "row field, or one in an object as `meta.patient`; rows that share its value, in any case, are all "
        "held out or all trained on. Where each group is larger than validation_split, the smallest is held out"
    )


class Gate(Finite):
    """When a candidate counts as better than the model it would replace."""

    min_score: Fraction = Field(default=0.0, description="absolute floor")
    min_gain: Fraction = Field(default=0.0, description="the interval of the gain must lie above this")
    confidence: Annotated[float, Field(ge=0.5, lt=1)] = Field(
        default=0.95, description="of every interval; of gains it grows with each attempt at the held-out rows"
    )
    max_regression: Fraction = Field(
        default=0.05, description="largest drop tolerated in any slice; a drop whose interval reaches 0 does not count"
    )
    max_general_regression: Fraction | None = Field(
        default=0.05,
        description="largest drop tolerated in general ability and in refusals, likewise; null: the suite is left out",
    )
    max_memorized: Fraction | None = Field(
        default=0.05,
        description="largest share of answers, beyond that of the references, that repeat a long span of a training "
        "row; a share whose interval reaches below it does not count; null: it is reported only",
    )
    gain_over_lookup: Annotated[float, Field(ge=-1, le=1)] | None = _optional(
        "the interval of the gain over the best answers that training rows give without a model (majority, "
        "nearest neighbor, lookup) must lie above this; null: they are reported only"
    )
    min_pair_agreement: Fraction | None = _optional(
        "least share of the groups of evaluation.pairs that are answered alike"
    )
    floors: dict[str, Fraction] = Field(
        default={},
        max_length=16,
        description="grader -> least mean of it over all rows and in each slice, for example `{triage: 0.99}`; "
        "a grader with `veto: true` that is not named has 1.0",
    )
    min_rows: Annotated[int, Field(ge=2)] = Field(
        default=20,
        description="with fewer held-out rows the model is not deployed, so data that has fewer is refused; rows of "
        "one group (data.split_group) count as one",
    )


class Evaluation(Finite):
    """How answers are graded."""

    graders: tuple[Grader, ...] = Field(
        default=(StringCheck(name="exact"),),
        min_length=1,
        max_length=16,
        description="how answers are scored: docs/reference/graders.md",
    )
    slices: tuple[str, ...] = Field(
        default=(),
        description="row fields whose values form slices, for example `fault_class`, or `meta.machine` in an object",
    )
    pairs: str | None = _optional(
        "row field: rows that share its value, for example one case under two names, are a pair; their "
        "answers are compared without each row's own field `name`, a text or a list"
    )
    max_new_tokens: Annotated[int, Field(ge=1, le=ANSWER_TOKENS_MAX)] = Field(
        default=256, description="longest answer in the evaluation and in the probes of the rollout"
    )
    gate: Gate = Gate()

    @model_validator(mode="after")
    def _grader_names_are_unique_and_known(self) -> "Evaluation":
        _refuse_equal_names(self.graders)
        names = [grader.name for grader in self.graders]
        if unknown := [name for name in self.gate.floors if name not in names]:
            raise ValueError(f"gate.floors names {', '.join(unknown)}: the graders are {', '.join(names)}")
        if self.gate.min_pair_agreement is not None and self.pairs is None:
            raise ValueError("gate.min_pair_agreement needs pairs, the row field that says which rows belong together")
        if self.gate.gain_over_lookup is not None and judges_named(self.graders):
            raise ValueError("gate.gain_over_lookup needs graders without a judge, which grades models only")
        return self

    @property
    def floors(self) -> dict[str, float]:
        """Grader -> least mean: those of the gate, and 1.0 for each other grader with a veto."""
        return {grader.name: 1.0 for grader in self.graders if grader.veto} | self.gate.floors


class Deployment(Finite):
    """Where a better model goes, and how fast."""

    endpoint: Name | None = _optional(
        "default: the project's name. Letters, digits, single dashes; nobody else's in the region"
    )
    instance_type: str = _auto("machine of the endpoint; auto: the cheapest that holds the model")
    instances: Machines = Field(default=1, description="machines of the deployment")
    max_instances: Machines | None = _optional("autoscale: the most machines, `instances` being the fewest; null: none")
    scale_out_above: Annotated[float, Field(gt=0, lt=100)] | None = _optional(
        "with max_instances: percent of GPU use (CPU without GPU) above which one comes; below 2/5 one goes; null: 70"
    )
    approval: Literal["required", "automatic"] = Field(
        default="automatic", description="required: a person decides after the gate has passed"
    )
    approval_hours: Annotated[float, Field(gt=0, le=8760)] = Field(
        default=168.0, description="how long a decision is waited for; after it the model is declined"
    )
    rollout: tuple[Annotated[int, Field(ge=1, le=100)], ...] = Field(
        default=(10, 50, 100),
        description="percent of the traffic, step by step; the first model at an endpoint gets 100 at once",
    )
    keep_previous_hours: Annotated[float, Field(ge=0, le=720)] = Field(
        default=24.0, description="how long the previous deployment stays warm for a rollback"
    )
    idle_hours: Annotated[float, Field(gt=0, le=720)] | None = _optional(
        "hours without a request after which the deployment is deleted, for `droptune endpoints restore` to bring "
        "back; null: the setting ENDPOINT_IDLE_HOURS, which is also the most it may be"
    )

    golden_questions: Annotated[int, Field(ge=0, le=20)] = Field(
        default=5,
        description="held-out prompts that the model in production is asked at each MONITOR_SCHEDULE; 0: none, and "
        "only requests of others are looked at",
    )
    on_degraded: Literal["notify", "roll_back"] = Field(
        default="notify",
        description="what happens if it answers worse than at its promotion, or not. roll_back: the traffic goes to "
        "the previous deployment, if that is warm and answers well",
    )

    @model_validator(mode="after")
    def _keys_fit(self) -> "Deployment":
        if self.max_instances is not None and self.max_instances < self.instances:
            raise ValueError("max_instances must not be below instances: raise it, or leave it out for no autoscale")
        if self.scale_out_above is not None and self.max_instances is None:
            raise ValueError("scale_out_above needs max_instances, the most machines: without it nothing is scaled")
        if not self.rollout or self.rollout[-1] != 100 or list(self.rollout) != sorted(set(self.rollout)):
            raise ValueError("rollout must rise strictly and end at 100")
        return self


class Budget(Finite):
    """Limits of money and time."""

    max_usd: Annotated[float, Field(gt=0)] = Field(
        default=50.0,
        description="a run whose low estimate is above it is refused; training ends at nine tenths of it, over all "
        "its attempts. Evaluation and the endpoint are not counted",
    )
    deadline_hours: Annotated[float, Field(gt=0, le=168)] = Field(
        default=12.0,
        description="longest time of the training job over all its attempts, and of the evaluation job again",
    )
    tier: Tier = Field(default=Tier.SPOT, description="spot machines are cheaper and may be taken away")
    instance_type: str = _auto(
        "machine of the training job; auto: the cheapest that holds the run, or a faster one, with several "
        "GPUs for supervised training, where that cannot keep the deadline"
    )
    nodes: Annotated[int, Field(ge=1, le=8)] = Field(
        default=1, description="machines of the training job, which share each batch; supervised training only"
    )


DEFAULT_NOTIFY_EVENTS: tuple[str, ...] = tuple(read_beside(__file__)["default_notify_events"])


class Retrain(Finite):
    """When the project's newest data is trained on again without a drop.

    It is trained on if the recipe or the held-out set changed, or if its run failed; else that run ends `duplicate`.
    """

    every_days: Annotated[float, Field(gt=0, le=365)] | None = _optional(
        "days from one promotion to the next look; less than an hour is an hour; read from the recipe of the run in "
        "production"
    )


MAX_NOTIFY = 20
SUBSCRIPTION_NAME = r"^[a-z][a-z0-9_-]{0,63}$"


class Notify(Finite):
    """Events of the project's runs for one of its subscriptions, beside those that it asks for itself."""

    subscription: Annotated[str, Field(pattern=SUBSCRIPTION_NAME)] = Field(
        description="name of a subscription of the project: docs/how-to/subscribe-to-events.md"
    )
    events: tuple[str, ...] = Field(
        default=DEFAULT_NOTIFY_EVENTS, max_length=50, description="events, or patterns such as `run.*`"
    )


class Recipe(Finite):
    """`recipe.yaml` of a project. Every field but `base_model` has a default.

    A file without it gets the setting DEFAULT_BASE_MODEL.
    """

    base_model: str = Field(description="catalog id")
    method: Method = Field(default=Supervised(), description="how the model learns")
    data: Data = Data()
    evaluation: Evaluation = Evaluation()
    deployment: Deployment = Deployment()
    budget: Budget = Budget()
    use_case: str = Field(default="", description="what the model is for; some licenses ask for it")
    intended_uses: tuple[Use, ...] | None = Field(
        default=None,
        description="which of the uses that licenses bar it is for: docs/reference/licenses.md; an empty list: none",
    )
    notify: tuple[Notify, ...] = Field(
        default=(), max_length=MAX_NOTIFY, description="subscriptions that get more of the run's events; at most 20"
    )
    retrain: Retrain = Retrain()

    @model_validator(mode="after")
    def _evaluation_fits_the_method(self) -> "Recipe":
        if isinstance(self.method, Reinforcement) and _rubric(self.method.graders) == _rubric(self.evaluation.graders):
            raise ValueError(
                "evaluation.graders are those of method.graders: a model evaluated by what it was rewarded for "
                "shows only that it was rewarded; grade the evaluation otherwise"
            )
        if isinstance(self.method, Reinforcement) and self.evaluation.gate.gain_over_lookup is not None:
            raise ValueError("evaluation.gate.gain_over_lookup needs training rows with answers, not prompts")
        return self


def _rubric(graders: tuple[Grader, ...]) -> list[str]:
    """What graders do, whatever they are called."""
    return sorted(grader.model_copy(update={"name": ""}).model_dump_json() for grader in graders)


class ResolvedHyperparameters(Finite):
    """Hyperparameters with nothing left to decide. Lengths in tokens."""

    n_epochs: int
    batch_size: int
    micro_batch_size: int
    learning_rate: float
    lora_rank: int
    lora_alpha: int
    max_length_tokens: int
    total_steps: int
    gradient_checkpointing: bool
    compute_dtype: Literal["float32", "bfloat16"]
    seed: int
    rslora: bool = True
    dora: bool = False
    lora_dropout: float = 0.0
    quantization: Literal["nf4", "none"] = "nf4"
    packing: Literal["packed", "padded"] = "packed"
    optimizer: Literal["adamw", "paged_adamw_8bit"] = "adamw"
    sharding: Literal["none", "full"] = Field(
        default="none", description="full: each GPU of a machine keeps a part of the base (FSDP)"
    )


class ResolvedPreference(ResolvedHyperparameters):
    beta: float


class ResolvedReinforcement(ResolvedHyperparameters):
    """`batch_size` counts prompts, `micro_batch_size` and `generation_batch_size` (those sampled together) answers."""

    rollouts_per_prompt: int
    temperature: float
    max_new_tokens: int
    generation_batch_size: int
    beta: float


class ResolvedRecipe(Finite):
    """What a job gets: the recipe, the resolved values, and why each was chosen."""

    requested: Recipe = Field(description="the recipe, where `auto` still stands for what was to be chosen")
    project: str
    endpoint: str
    hyperparameters: ResolvedReinforcement | ResolvedPreference | ResolvedHyperparameters
    training_instance_type: str
    serving_instance_type: str
    reasons: dict[str, str] = Field(description="hyperparameter or SKU -> plain words")
    continued_from: str | None = _optional("run whose adapter training starts from")
    base: BaseModelEntry | None = _optional("the tenant's own base model, as the policy had it; null: of the catalog")

    @model_validator(mode="before")
    @classmethod
    def _without_addresses(cls, stored: Any) -> Any:
        """Until December 2026 recipes named addresses that got events. Those of runs before get nothing any more."""
        requested = stored.get("requested") if isinstance(stored, dict) else None
        if not isinstance(requested, dict) or not isinstance(requested.get("notify"), list):
            return stored
        kept = [one for one in requested["notify"] if not isinstance(one, dict) or not {"url", "channel"} & one.keys()]
        return {**stored, "requested": {**requested, "notify": kept}}

    @property
    def entry(self) -> BaseModelEntry:
        """Its base model. Raises PermanentFailure (license, `unknown_base_model`)."""
        return self.base or find_entry(self.requested.base_model)
