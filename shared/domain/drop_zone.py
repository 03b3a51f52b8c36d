"""What a file in the drop zone is, by its path `datasets/<project>/[<folder>/]<name>`, whatever its capitals."""

import re
from enum import StrEnum

from shared.domain.beside import composed, read_beside

MAX_RECIPE_BYTES = 64 * 2**10

RECIPE_NAME = "recipe.yaml"

_PATTERNS = composed(read_beside(__file__))
_RECIPE, _TEXT, _NO_DATA, _NOTHING = (re.compile(_PATTERNS[name]) for name in ("recipe", "text", "no_data", "nothing"))
_HELD_OUT = tuple(map(re.compile, _PATTERNS["held_out"]))


class Role(StrEnum):
    """`nothing`: no file of a dataset. `misplaced`: it lies in the container's root, where no project is named."""

    TRAINING = "training"
    HELD_OUT = "held_out"
    RECIPE = "recipe"
    NOTHING = "nothing"
    MISPLACED = "misplaced"


def role_of(path: str) -> Role:
    """The role of the blob at this path. What the API keeps for itself, in folders that begin with `_`, has none."""
    _, *folders, name = path.casefold().split("/")
    role = Role.NOTHING if any(folder.startswith(("_", ".")) for folder in folders) else _role_of_name(name)
    return role if folders or role is Role.NOTHING else Role.MISPLACED


def _role_of_name(name: str) -> Role:
    if not name or _NOTHING.fullmatch(name):
        return Role.NOTHING
    if _RECIPE.fullmatch(name):
        return Role.RECIPE
    if held_out_rank(name) is None:
        return Role.TRAINING
    return Role.NOTHING if _NO_DATA.fullmatch(name) else Role.HELD_OUT


def held_out_rank(name: str) -> int | None:
    """The place of a held-out file's name among others in its folder, 0 first; None of another name."""
    return next((rank for rank, words in enumerate(_HELD_OUT) if words.fullmatch(name.casefold())), None)


def may_be_prose(path: str) -> bool:
    """Whether only the content tells if it is data: a text file."""
    return _TEXT.fullmatch(path.casefold()) is not None


def is_answered(path: str) -> bool:
    """Whether the blob gets a run by being there: one that reads it, or one that is rejected because of its place."""
    return role_of(path) in (Role.TRAINING, Role.MISPLACED)


def starts_a_run(path: str) -> bool:
    """Whether the blob starts a run that reads it, by being there."""
    return role_of(path) is Role.TRAINING
