"""What licenses of base models say, in our words."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from shared.domain.beside import read_beside
from shared.domain.model import Frozen

USES: dict[str, str] = read_beside(__file__, "catalog.toml")["uses"]
if TYPE_CHECKING:
    Use = str
else:
    Use = Literal[tuple(USES)]  # in schemas too


class License(Frozen):
    """A license of base models, as the catalog has it."""

    id: str = Field(description="SPDX id, or LicenseRef-...")
    policy: Literal["allow", "review", "deny"]
    texts: dict[str, str] = Field(default={}, description="where each is -> its SHA-256, empty if it was not read")
    barred_uses: tuple[Use, ...] = ()
    obligations: tuple[str, ...] = Field(min_length=1, description="what it asks of its user, or why it refuses")
