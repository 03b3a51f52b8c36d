"""What differs between the tuning methods: how rows are read, and which trainer learns from them.

A method is a module with `read` and `build`; everything else a run needs is shared (`training_job.methods.trainer`,
`training_job.train`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from transformers import Trainer

    from shared.domain.recipe import ResolvedRecipe
    from shared.rendering.bundle import Bundle
    from shared.rendering.check import LengthPolicy
    from training_job.data.chat_rows import Encoded, EncodedFile
    from training_job.job.setup import Setup


@dataclass(frozen=True)
class EncodedData:
    """The rows of a curated version, encoded as the method needs them.

    `probe`: some held-out rows with answers, on which the merged model is compared with its adapter.
    """

    train: "EncodedFile[Any]"
    held_out: "EncodedFile[Any]"
    probe: "Sequence[Encoded]" = ()

    @property
    def dropped_rows(self) -> int:
        return len(self.train.dropped) + len(self.held_out.dropped)

    @property
    def truncated_rows(self) -> int:
        return len(self.train.truncated) + len(self.held_out.truncated)


class TuningMethod(Protocol):
    """One tuning method. `MEASURES`: what of the trainer's log goes into the curve beside the loss, and as what."""

    MEASURES: Mapping[str, str]

    def diagnose(self, points: Sequence[dict[str, Any]], stopped: str | None, best_step: int | None) -> tuple[str, ...]:
        """What the curve says, in plain words; see `training_job.job.diagnosis`."""

    def read(self, train_file: Path, held_out_file: Path, bundle: "Bundle", policy: "LengthPolicy") -> EncodedData:
        """Read both files; PermanentFailure of class data lists the rows that are wrong."""

    def build(self, setup: "Setup", data: EncodedData) -> "Trainer":
        """A trainer that is ready for `train`, its adapters in float32."""


def method_of(recipe: "ResolvedRecipe") -> TuningMethod:
    """The module of the recipe's method; imports torch."""
    names = {"supervised": "supervised", "dpo": "preference", "reinforcement": "reinforcement"}
    return cast(TuningMethod, import_module(f"training_job.methods.{names[recipe.requested.method.type]}"))
