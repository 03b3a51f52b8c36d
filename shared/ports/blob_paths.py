"""What a path of a BlobStore may look like: one that could lead elsewhere on a disk is refused everywhere."""

import re

from shared.domain.errors import InvalidInput

# One part of a path: not hidden (so neither "." nor ".."), no separator of any system, no control character.
_PART = re.compile(r"[^./\\\x00-\x1f\x7f\ud800-\udfff][^/\\\x00-\x1f\x7f\ud800-\udfff]*")
# Of a blob name in Azure; the container's name does not count.
# https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
_NAME_CHARACTERS = 1024


def is_part(name: str) -> bool:
    """Whether a file or folder of this name can belong to a blob."""
    return _PART.fullmatch(name) is not None


def check_path(path: str) -> None:
    """Raises InvalidInput `bad_blob_path` unless it is `<container>/<name>`."""
    _, slash, name = path.partition("/")
    if not slash or len(name) > _NAME_CHARACTERS or not all(map(is_part, path.split("/"))):
        raise bad_path(path)


def check_prefix(prefix: str) -> None:
    """Raises InvalidInput `bad_blob_path` if no path could begin with it; its last part may be incomplete."""
    folder = prefix.rpartition("/")[0]
    if folder and not all(map(is_part, folder.split("/"))):
        raise bad_path(prefix)


def bad_path(path: str) -> InvalidInput:
    """The error for a malformed path or prefix."""
    message = f"{path!r} is not <container>/<name>; no part may be empty, hidden, a link or too long"
    return InvalidInput("bad_blob_path", message, path)
