"""How training reads the rows of each architecture: the table is `architectures.toml`."""

from typing import Literal

from shared.domain.beside import read_beside
from shared.domain.model import Frozen


class RowReading(Frozen):
    """One architecture; `rows` is None where it is refused."""

    rows: Literal["packed", "plain"] | None = None
    why: str = ""
    unplanned: str = ""
    fused: tuple[str, ...] = ()
    norms: int = 2
    head_norms: bool = False
    tied: bool = False
    adapters: tuple[str, ...] | Literal["all-linear"] = "all-linear"


READINGS: dict[str, RowReading] = {name: RowReading.model_validate(row) for name, row in read_beside(__file__).items()}


def reading_of(model_type: str) -> RowReading:
    """Of any architecture: one that is not in the table is refused."""
    return READINGS.get(model_type, RowReading(why="training does not know what its layers do"))


def trainable(model_type: str) -> str:
    """The same. Raises ValueError unless training takes the architecture and its memory is planned."""
    reading = reading_of(model_type)
    if reading.rows is None or reading.unplanned:
        raise ValueError(f"{model_type}: {reading.unplanned or reading.why}")
    return model_type
