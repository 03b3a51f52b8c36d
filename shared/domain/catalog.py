"""The vetted base models and the machines they run on: what is allowed, what it needs, what it costs.

The base models are those of `catalog.toml`. Prices are list prices in USD per hour, East US, from an undated public
mirror of the retail catalog, read in 2026; spot prices are the upper end of the range seen. The invoice decides.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from shared.domain.beside import read_beside
from shared.domain.errors import FailureClass, PermanentFailure, Problem
from shared.domain.licenses import USES, License, Use
from shared.domain.model import Frozen

GIB = 2**30
TemplateArguments = Mapping[Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")], bool | int | str]


class Architecture(Frozen):
    """Dimensions of a decoder, as the model's `config.json` has them."""

    model_type: Literal["llama", "mistral", "phi3"]
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool = Field(default=False, description="input and output embeddings are one matrix")


class Defaults(Frozen):
    """What `auto` becomes for this base where the data does not decide."""

    learning_rate: float = 2e-4
    # Unsloth's guide for adapters: 5e-6 for DPO and GRPO, where examples take 2e-4.
    preference_learning_rate: float = 5e-6
    reinforcement_learning_rate: float = 5e-6
    batch_size: int = 16
    lora_rank: int = 16
    compute_dtype: Literal["float32", "bfloat16"] = "bfloat16"


class BaseModelEntry(Frozen):
    """One base model. `architecture` and `asset` are None where the license refuses the model anyway."""

    id: str
    terms: License
    parameters: int = 0
    architecture: Architecture | None = None
    asset: str | None = Field(default=None, description="URI of the job input with weights and tokenizer")
    tokenizer: str | None = Field(default=None, description="blob folder of the exported tokenizer bundle")
    context_tokens: int = 0
    tokens_per_character: float = Field(
        default=1.0, description="upper bound assumed when `max_length_tokens` is derived from characters"
    )
    tool_parser: str | None = Field(
        default=None, description="of vLLM, which reads tool calls out of answers; data with tools is refused without"
    )
    template_arguments: TemplateArguments = Field(
        default={}, description="what its chat template is told where a request says nothing, as `enable_thinking`"
    )
    accelerator: Literal["cpu", "gpu"] = "gpu"
    defaults: Defaults = Defaults()

    @property
    def dims(self) -> Architecture:
        """The architecture. Raises PermanentFailure (license) for an entry that is listed to be refused."""
        if self.architecture is None:
            raise PermanentFailure(FailureClass.LICENSE, "license_denied", f"{self.id} is not offered", "base_model")
        return self.architecture


_CATALOG: dict[str, Any] = read_beside(__file__)
LICENSES = {text["id"]: License.model_validate(text) for text in _CATALOG["license"]}


def _entries() -> Iterator[BaseModelEntry]:
    """Raises ValidationError for a key that is missing, unknown or wrong."""
    for entry in _CATALOG["model"]:
        entry["terms"] = LICENSES[entry.pop("license")]
        if "asset" in entry:
            entry["tokenizer"] = f"models/{entry['id']}/tokenizer/"
        yield BaseModelEntry.model_validate(entry)


CATALOG: dict[str, BaseModelEntry] = {entry.id: entry for entry in _entries()}


def find_entry(base_model: str) -> BaseModelEntry:
    """The entry of a base model. Raises PermanentFailure (license, `unknown_base_model`)."""
    entry = CATALOG.get(base_model)
    if entry is None:
        raise PermanentFailure(FailureClass.LICENSE, "unknown_base_model", _unknown_message(base_model), "base_model")
    return entry


def _unknown_message(base_model: str) -> str:
    offered = ", ".join(entry.id for entry in CATALOG.values() if entry.terms.policy != "deny")
    return f"{base_model} is not in the catalog; offered are {offered}"


def check_license(base_model: str, use_case: str, intended_uses: Iterable[Use] | None = None) -> Iterator[Problem]:
    """Everything the license's text has against this model for this use. Of an unknown id it was not reviewed."""
    if (entry := CATALOG.get(base_model)) is None:
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
