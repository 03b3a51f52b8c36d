"""The lock files are what their lists ask for, in the versions of constraints.txt, with hashes and no address."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT

TRAINING = ROOT / "training_job"
LOCKS = {
    ROOT / "requirements.txt": ROOT / "requirements.in",
    TRAINING / "requirements.txt": TRAINING / "requirements-image.in",
}
both = pytest.mark.parametrize("lock", LOCKS, ids=["app", "image"])


class Locked(NamedTuple):
    """A package of a lock file; `lists` are the files that ask for it themselves."""

    requirement: Requirement
    hashes: int
    lists: set[str]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        [pin] = self.requirement.specifier
        assert pin.operator == "=="
        return pin.version


def locked(lock: Path) -> Iterator[Locked]:
    """uv writes a package, its hashes, and after `via` what asks for it: `-r` and a file, or a package."""
    for block in re.split(r"\n(?=[a-z0-9])", lock.read_text().strip()):
        first, *rest = block.splitlines()
        hashes = sum(bool(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)) for line in rest)
        lists = set(re.findall(r"-r (\S+)", "\n".join(line for line in rest if line.startswith("    #"))))
        yield Locked(Requirement(first.removesuffix(" \\")), hashes, lists)


def listed(file: Path) -> Iterator[tuple[str, Requirement]]:
    """Each requirement of a list and of the lists it names, with the list's path in the repository."""
    for line in file.read_text().splitlines():
        if line.startswith("-r "):
            yield from listed(file.parent / line.removeprefix("-r "))
        elif line and not line.startswith("#"):
            yield str(file.relative_to(ROOT)), Requirement(line.split(" --hash")[0])


def pins() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for _, requirement in listed(ROOT / "constraints.txt"):
        found.setdefault(canonicalize_name(requirement.name), set()).update(
            pin.version for pin in requirement.specifier
        )
    return found


@both
def test_every_package_of_a_lock_file_is_pinned_with_hashes_and_without_an_address(lock: Path) -> None:
    packages = list(locked(lock))
    assert len(packages) > 60
    assert all(package.version and package.hashes for package in packages)
    lines = lock.read_text().splitlines()
    assert len([line for line in lines if "--hash=" in line]) == sum(package.hashes for package in packages)
    assert not [line for line in lines if "://" in line or line.startswith("-")]


@both
def test_a_lock_file_has_what_its_list_asks_for_and_nothing_that_was_taken_off_it(lock: Path) -> None:
    requested = {(file, canonicalize_name(requirement.name)) for file, requirement in listed(LOCKS[lock])}
    assert {(file, package.name) for package in locked(lock) for file in package.lists} == requested
    for _, requirement in listed(LOCKS[lock]):
        versions = [package.version for package in locked(lock) if package.name == canonicalize_name(requirement.name)]
        assert versions
        assert all(requirement.specifier.contains(version) for version in versions)


@both
def test_a_lock_file_has_the_versions_of_the_laptop(lock: Path) -> None:
    allowed = pins()
    other = [
        package.name for package in locked(lock) if package.version not in allowed.get(package.name, {package.version})
    ]
    assert other == []


def test_the_lock_file_of_the_app_is_complete() -> None:
    """By the metadata of what is installed here: what a package needs is locked, in its bounds."""
    here = {
        package.name: package
        for package in locked(ROOT / "requirements.txt")
        if not package.requirement.marker or package.requirement.marker.evaluate()
    }
    assert len(here) > 60
    others = [name for name in here if importlib.metadata.version(name) != here[name].version]
    if others:
        pytest.skip(f"other versions than the locked ones are installed here, `make setup` installs those: {others}")
    reached: set[str] = set()
    todo = [requirement for _, requirement in listed(ROOT / "requirements.in")]
    while todo:
        need = todo.pop()
        name = canonicalize_name(need.name)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        assert need.specifier.contains(here[name].version), need
        reached.add(name)
        for line in importlib.metadata.requires(name) or ():
            further = Requirement(line)
            applies = [not further.marker or further.marker.evaluate({"extra": extra}) for extra in ("", *need.extras)]
            if any(applies) and (further.extras or canonicalize_name(further.name) not in reached):
                further.marker = None
                todo.append(further)
    assert reached == here.keys()
