"""The dataset validator, used by the function and by the CPU job. Entry point: `validate`."""

from shared.validation.curated import curated_version
from shared.validation.validator import Sink, Validated, spooled_sink, validate

__all__ = ["Sink", "Validated", "curated_version", "spooled_sink", "validate"]
