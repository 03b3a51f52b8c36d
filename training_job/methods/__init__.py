"""What differs between the tuning methods: how rows are read, and which trainer learns from them.

A method is a module with `read` and `build`; everything else a run needs is shared (`training_job.methods.trainer`,
`training_job.train`).
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from transformers import Trainer

    from shared.domain.recipe import ResolvedRecipe
    from shared.rendering.bundle import Bundle
    from shared.rendering.check import LengthPolicy
    from training_job.data.chat_rows import EncodedFile
    from training_job.data.selection import EncodedData
    from training_job.job.setup import Setup


class TuningMethod(Protocol):
    """One tuning method. `MEASURES`: what of the trainer's log goes into the curve beside the loss, and as what."""

    MEASURES: Mapping[str, str]

    def diagnose(self, points: Sequence[dict[str, Any]], stopped: str | None, best_step: int | None) -> tuple[str, ...]:
        """What the curve says, in plain words; see `training_job.job.diagnosis`."""

    def read(self, path: Path, bundle: "Bundle", policy: "LengthPolicy") -> "EncodedFile[Any]":
        """Read the training rows; PermanentFailure of class data lists those that are wrong."""

    def build(self, setup: "Setup", data: "EncodedData") -> "Trainer":
        """A trainer that is ready for `train`, its adapters in float32."""


def method_of(recipe: "ResolvedRecipe") -> TuningMethod:
    """The module of the recipe's method; imports torch."""
    names = {"supervised": "supervised", "dpo": "preference", "reinforcement": "reinforcement"}
    return cast(TuningMethod, import_module(f"training_job.methods.{names[recipe.requested.method.type]}"))
