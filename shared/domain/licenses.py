"""What licenses of base models say, in our words, and who has accepted one."""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AwareDatetime, ConfigDict, Field

from shared.domain.beside import read_beside
from shared.domain.model import MAX_COMMENT, Frozen

USES: dict[str, str] = read_beside(__file__, "catalog.toml")["uses"]
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
    texts: dict[Text, Text] = Field(default={}, description="where each is -> its SHA-256, empty if it was not read")
    barred_uses: tuple[Use, ...] = ()
    obligations: tuple[Text, ...] = Field(min_length=1, description="what it asks of its user, or why it refuses")

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
