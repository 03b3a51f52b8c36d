"""Which files azd packs of a service: azure-dev, `createDeployableZip`, and denormal/go-gitignore, which it uses."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath


def packed(root: Path) -> Iterator[PurePosixPath]:
    """Each file that goes up, links resolved; a folder that is left out is not looked into."""
    patterns = [one.strip() for one in (root / ".funcignore").read_text().splitlines()]
    patterns = [one for one in patterns if one and not one.startswith("#")]
    yield from _packed(root, PurePosixPath(), patterns)


def _packed(folder: Path, at: PurePosixPath, patterns: list[str]) -> Iterator[PurePosixPath]:
    for path in sorted(folder.iterdir()):
        name, is_folder = at / path.name, path.is_dir()
        if path.name in (".azure", ".funcignore", "local.settings.json") or ignored(str(name), is_folder, patterns):
            continue
        if is_folder:
            yield from _packed(path, name, patterns)
        else:
            yield name


def ignored(path: str, is_folder: bool, patterns: list[str]) -> bool:
    """By the last pattern that matches. Unlike Git it does not ask about the folders above."""
    found = next((one for one in reversed(patterns) if _matches(one.removeprefix("!"), path, is_folder)), "!")
    return not found.startswith("!")


def _matches(pattern: str, path: str, is_folder: bool) -> bool:
    if pattern.endswith("/") and not is_folder:
        return False
    body = pattern.removeprefix("/").removesuffix("/")
    if "/" in body:  # compared folder by folder
        return _parts(path.split("/"), body.split("/"))
    # A `*` of an anchored name crosses folders.
    return fnmatchcase(path if pattern.startswith("/") else path.rpartition("/")[2], body)


def _parts(path: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return _parts(path, pattern[1:]) or (bool(path) and _parts(path[1:], pattern))
    return bool(path) and fnmatchcase(path[0], pattern[0]) and _parts(path[1:], pattern[1:])
