"""The dataset validator, used by the function and by the CPU job. Entry point: `validate`."""

from shared.validation.validator import Sink, Validated, spooled_sink, validate

__all__ = ["Sink", "Validated", "spooled_sink", "validate"]
