"""The vetted base models (`catalog.toml`) and machines. Prices are list prices in USD per hour, East US, from an
undated mirror of the retail catalog, read in 2026; spot: the upper end of the range. The invoice decides."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote, unquote

from pydantic import AwareDatetime, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from shared.domain.beside import read_beside
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.model import MAX_COMMENT, Frozen

_CATALOG: dict[str, Any] = read_beside(__file__)
USES: dict[str, str] = _CATALOG["uses"]
if TYPE_CHECKING:
    Use = str
else:
    Use = Literal[tuple(USES)]  # in schemas too


Text = Annotated[str, Field(max_length=500)]


class License(Frozen):
    """A license of base models, as the catalog has it."""

    id: Text = Field(description="SPDX id, or LicenseRef-...")
    policy: Literal["allow", "review", "deny"] = Field(description="review: once a person has accepted it")
    own: bool = Field(default=False, description="this project's: nobody has to accept it")
    texts: dict[Text, Text] = Field(
        default={}, max_length=20, description="where each is -> SHA-256, empty if not read"
    )
    barred_uses: tuple[Use, ...] = ()
    obligations: tuple[Text, ...] = Field(
        min_length=1, max_length=20, description="what it asks of its user, or why it refuses"
    )

    def sha256(self, shipped: Mapping[str, str]) -> str:
        """Of what a person accepts: all that the catalog says of it, and the texts that the base itself ships."""
        content = [self.id, self.texts, self.barred_uses, self.obligations, dict(shipped)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class LicenseAnswer(Frozen):
    """What a person says to the license of a base model."""

    model_config = ConfigDict(defer_build=False)  # the body of a route

    comment: str = Field(min_length=1, max_length=MAX_COMMENT, description="why")
    accepted: bool
    terms_sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of what was accepted or refused")


class LicenseDecision(LicenseAnswer):
    """With whose it is. It holds for the whole deployment."""

    base_model: str
    by: str
    by_id: str
    at: AwareDatetime


class RowReading(Frozen):
    """How training reads the rows of one architecture of `architectures.toml`; `rows` is None where it is refused."""

    rows: Literal["packed", "plain"] | None = None
    why: str = ""
    unplanned: str = ""
    fused: tuple[str, ...] = ()
    norms: int = 2
    head_norms: bool = False
    tied: bool = False
    kv_heads: int | None = None
    head_dim: int | None = None
    adapters: tuple[str, ...] | Literal["all-linear"] = "all-linear"


READINGS: dict[str, RowReading] = {
    name: RowReading.model_validate(row) for name, row in read_beside(__file__, "architectures.toml").items()
}


def reading_of(model_type: str) -> RowReading:
    """Of any architecture: one that is not in the table is refused."""
    return READINGS.get(model_type, RowReading(why="training does not know what its layers do"))


def why_not_trained(model_type: str) -> str:
    """Why training does not take the architecture, or its memory is not planned; empty if it does and it is."""
    reading = reading_of(model_type)
    return "" if reading.rows and not reading.unplanned else f"{model_type}: {reading.unplanned or reading.why}"


GIB = 2**30
Size = Annotated[int, Field(ge=1, le=10_000_000)]
Rate = Annotated[float, Field(gt=0, le=1)]
TemplateArguments = Mapping[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], bool | int | Text]


class Architecture(Frozen):
    """Dimensions of a decoder, as the model's `config.json` has them."""

    model_type: Text
    hidden: Size
    layers: Size
    heads: Size
    kv_heads: Size
    head_dim: Size
    intermediate: Size
    vocab: Size
    tied: bool = Field(default=False, description="input and output embeddings are one matrix")


CONFIG_KEYS: dict[str, str] = _CATALOG["config_keys"]


def read_architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of Architecture out of a `config.json`; None where it says nothing."""
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    reading = reading_of(str(config.get("model_type")))
    # What transformers takes where the file is silent.
    found = {"tie_word_embeddings": reading.tied, "num_key_value_heads": reading.kv_heads or heads, **config}
    found["head_dim"] = config.get("head_dim") or reading.head_dim or (hidden // heads if hidden and heads else None)
    return {field: found.get(key) for field, key in CONFIG_KEYS.items()}


def read_context(config: Mapping[str, Any]) -> int:
    """Tokens of the longest row, where longrope is not to change the positions of the rows beside it as well."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    changes = "longrope" in (rope.get("rope_type"), rope.get("type"))
    original = "original_max_position_embeddings"
    found = (rope.get(original) or config.get(original)) if changes else None
    return found or config.get("max_position_embeddings") or 0


class Defaults(Frozen):
    """What `auto` becomes for this base where the data does not decide."""

    learning_rate: Rate = 2e-4
    # Unsloth's guide for adapters: 5e-6 for DPO and GRPO, where examples take 2e-4.
    preference_learning_rate: Rate = 5e-6
    reinforcement_learning_rate: Rate = 5e-6
    batch_size: Annotated[Size, Field(le=1024)] = 16
    lora_rank: Annotated[Size, Field(le=256)] = 16
    compute_dtype: Literal["float32", "bfloat16"] = "bfloat16"


class BaseModelEntry(Frozen):
    """One base model. `architecture` and `asset` are None where the license refuses the model anyway."""

    id: Text
    terms: License
    parameters: int = Field(default=0, ge=0, le=10**13)
    architecture: Architecture | None = None
    asset: Text | None = Field(default=None, description="URI of the job input with weights and tokenizer")
    revision: Text | None = Field(
        default=None, description="commit of the repository of that id on the Hugging Face Hub, for who fetches it"
    )
    context_tokens: int = Field(default=0, ge=0, le=10_000_000)
    tokens_per_character: float = Field(
        default=1.0,
        gt=0,
        le=100,
        allow_inf_nan=False,
        description="upper bound assumed when `max_length_tokens` is derived from characters",
    )
    tool_parser: Text | None = Field(
        default=None, description="of vLLM, which reads tool calls out of answers; data with tools is refused without"
    )
    template_arguments: TemplateArguments = Field(
        default={}, description="what its chat template is told where a request says nothing, as `enable_thinking`"
    )
    accelerator: Literal["cpu", "gpu"] = "gpu"
    defaults: Defaults = Defaults()

    @model_validator(mode="before")
    @classmethod
    def _as_in_a_file(cls, given: Any) -> Any:
        """A file may name a license of the catalog, and says no folder that follows from the id."""
        if not isinstance(given, dict):
            return given
        filled = {**given}
        if "license" in filled and "terms" not in filled:
            name = filled.pop("license")
            if name not in LICENSES:
                known = ", ".join(LICENSES)
                raise PydanticCustomError("unknown_license", "{text}", {"text": f"no license {name}: one of {known}"})
            filled["terms"] = LICENSES[name]
        return filled

    @property
    def tokenizer(self) -> str | None:
        """Blob folder of the exported tokenizer bundle: of this base alone: an import deletes what is there."""
        return f"models/{self.id}/tokenizer/" if self.asset else None

    @property
    def dims(self) -> Architecture:
        """The architecture. Raises PermanentFailure (license) for an entry that is listed to be refused."""
        if self.architecture is None:
            raise PermanentFailure(FailureClass.LICENSE, "license_denied", f"{self.id} is not offered", "base_model")
        return self.architecture


LICENSES = {text["id"]: License.model_validate(text) for text in _CATALOG["license"]}

CATALOG: dict[str, BaseModelEntry] = {text["id"]: BaseModelEntry.model_validate(text) for text in _CATALOG["model"]}
_OWN: list[Mapping[str, BaseModelEntry]] = [{}]  # replaced as a whole, for other threads read it


def offer(own: Iterable[BaseModelEntry]) -> None:
    """Let these be found beside the catalog, and no others: the base models of the policy in force, or of a job."""
    _OWN[0] = {entry.id: entry for entry in own}


def every_entry() -> list[BaseModelEntry]:
    """The catalog, then the tenant's own that a later catalog does not have too."""
    return [*CATALOG.values(), *(entry for id, entry in _OWN[0].items() if id not in CATALOG)]


def known_entry(base_model: str) -> BaseModelEntry | None:
    """The entry of a base model; None if it is in neither."""
    return CATALOG.get(base_model) or _OWN[0].get(base_model)


def own_base_option(base_model: str) -> str:
    """How a job is told of an entry that its image does not have: percent-encoded, so that no shell reads it."""
    own = _OWN[0].get(base_model)
    return f" --own-base={quote(own.model_dump_json(exclude_defaults=True), safe='')}" if own else ""


def offer_option(text: str | None) -> None:
    """Let the entry of such an option be found."""
    offer([BaseModelEntry.model_validate_json(unquote(text))] if text else [])


def find_entry(base_model: str) -> BaseModelEntry:
    """The entry of a base model. Raises PermanentFailure (license, `unknown_base_model`)."""
    entry = known_entry(base_model)
    if entry is None:
        raise PermanentFailure(FailureClass.LICENSE, "unknown_base_model", _unknown_message(base_model), "base_model")
    return entry


def _unknown_message(base_model: str) -> str:
    offered = ", ".join(entry.id for entry in every_entry() if entry.terms.policy != "deny")
    return f"{base_model} is not in the catalog; offered are {offered}"


def check_license(base_model: str, use_case: str, intended_uses: Iterable[Use] | None = None) -> Iterator[Problem]:
    """Everything the license's text has against this model for this use. Of an unknown id it was not reviewed."""
    if (entry := known_entry(base_model)) is None:
        yield Problem(code="unknown_base_model", message=_unknown_message(base_model), param="base_model")
        return
    named, barred = f"{entry.id} ({entry.terms.id})", entry.terms.barred_uses
    if entry.terms.policy == "deny":
        message = f"{named}: {' '.join(entry.terms.obligations)}"
        yield Problem(code="license_denied", message=message, param="base_model")
    elif barred and (not use_case.strip() or intended_uses is None):
        message = f"{named} bars some uses: say in use_case and intended_uses what it is for"
        missing = "intended_uses" if use_case.strip() else "use_case"
        yield Problem(code="license_needs_use_case", message=message, param=missing)
    for use in sorted({*(intended_uses or ())} & {*barred}):
        yield Problem(code="license_bars_use", message=f"{named} bars {use}: {USES[use]}", param="intended_uses")


class Sku(Frozen):
    """A machine size. Memory is that of one GPU (of the machine where it has no GPU)."""

    name: str
    gpu: str
    gpus: int
    memory_bytes: int
    usd_per_hour: float
    usd_per_hour_spot: float | None = Field(default=None, description="None where no price is known")
    peak_flops: float = Field(description="dense 16-bit operations per second of one GPU, data sheet")
    bfloat16: bool = True
    online_endpoint: bool = True

    @property
    def endpoint_reserve(self) -> bool:
        """Whether Azure keeps a fifth of an endpoint's quota for upgrades; its docs exempt A100 v4 and H100 v5."""
        return not self.name.endswith(("_A100_v4", "_H100_v5"))

    def price(self, *, spot: bool) -> float:
        """USD per hour; the dedicated price where no spot price is known, which errs on the high side."""
        return self.usd_per_hour_spot if spot and self.usd_per_hour_spot is not None else self.usd_per_hour


SKUS: tuple[Sku, ...] = tuple(
    Sku.model_validate({"memory_bytes": machine.pop("memory_gib") * GIB, **machine}) for machine in _CATALOG["machine"]
)


def find_sku(name: str, skus: tuple[Sku, ...] = SKUS) -> Sku:
    """The machine size by name. Raises PermanentFailure (recipe, `unknown_instance_type`)."""
    for sku in skus:
        if sku.name == name:
            return sku
    known = ", ".join(sku.name for sku in skus)
    message = f"instance type {name} is not known; known are {known}"
    raise PermanentFailure(FailureClass.RECIPE, "unknown_instance_type", message, "deployment.instance_type")
