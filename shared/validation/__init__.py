"""The dataset validator, used by the function and by the CPU job. Entry point: `validate`."""

from shared.validation.curated import curated_version
from shared.validation.sink import Sink, spooled_sink
from shared.validation.validator import Earlier, Validated, validate

__all__ = ["Earlier", "Sink", "Validated", "curated_version", "spooled_sink", "validate"]
