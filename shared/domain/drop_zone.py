"""What a file in the drop zone is, by its path `datasets/<project>/[<folder>/]<name>`, whatever its capitals."""

import re
from enum import StrEnum

MAX_RECIPE_BYTES = 64 * 2**10

RECIPE_NAME = "recipe.yaml"

_ROWS = r"(?!.*\.(?:jsonl|ndjson|csv|tsv|tab|parquet|arrow|feather|xls[xmb]?|ods|gz|zip|bz2|xz|zst)$)"
# Editors of Windows hide and add endings (`recipe.yaml.txt`), and JSON is YAML.
_RECIPE = re.compile(rf"recipe.*\.ya?ml(?:\..*)?|recipe(?![a-z]){_ROWS}.*")
# Words with their inflections, then anything but another letter: `test-2026`, `eval_v2`, not `devices`, `testimonials`.
# In the order in which they are taken: of a published dataset the validation set, not the test set.
_OF_ROWS = r"[_ .-]?(?:set|data|dataset|file|rows|split|examples|samples|cases)|s?daten(?:s\w*)?"
_HELD_OUT = tuple(
    re.compile(rf"(?:{words})(?:{_OF_ROWS})?(?![a-z]).*")
    for words in (
        "eval(?:s|uate|uation|uations|uierung)?",
        "val(?:id(?:ate|ation|ations|ierung)?)?",
        "dev(?:elopment|test)?",
        "test(?:s|ing)?",
        "(?:hold|held)[_ .-]?outs?",
    )
)
_TEXT = re.compile(r".*\.txt(?:\.gz)?")
_NO_DATA = re.compile(
    r".*\.(?:bat|cfg|docx?|gif|html?|ini|ipynb|jpe?g|js|log|lnk|pdf|png|pptx?|py|r|rst|sh|sql|svg|toml|ts|url|ya?ml)"
)
# Hidden files and marks (`.DS_Store`, `_SUCCESS`, `.azDownload-...`), uploads that are not complete (Chrome, Firefox,
# Opera, FileZilla and WinSCP, aria2, Hadoop), locks and backups of editors and of Office, documents, checksums,
# what `datasets` of Hugging Face writes beside rows, and devices of Windows, which it can neither hold nor fetch
# (Microsoft Learn, "Naming Files, Paths, and Namespaces").
_NOTHING = re.compile(
    r"[._~].*|#.*#|.*~|thumbs\.db|desktop\.ini|readme.*|.*\.md|.*\._copying_|.*\.azdownload.*"
    r"|(?:dataset_info|dataset_infos|dataset_dict|state)\.json|.*\.(?:md5|sha\d+|asc|sig)(?:sums?)?"
    rf"|(?:licen[cs]e|copying|notice|checksums?|(?:md5|sha\d+)sums?)(?![a-z]){_ROWS}.*"
    rf"|(?:con|prn|aux|nul|com\d|lpt\d)(?:{_ROWS}\..*)?"
    r"|.*\.(?:tmp|temp|part|partial|crdownload|download|opdownload|filepart|aria2|swp|swo|swx|bak|lock|crc)"
)


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
