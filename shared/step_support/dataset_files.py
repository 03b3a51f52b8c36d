"""What lies beside a dataset in the drop zone: its recipe and its held-out set."""

from collections.abc import Iterator

from shared.domain.drop_zone import Role, held_out_rank, may_be_prose, role_of
from shared.domain.errors import BlobNotFound
from shared.domain.findings import Findings
from shared.domain.paths import file_name
from shared.domain.run import Run
from shared.ports import BlobInfo, Services

# What names of recipes and of held-out files begin with.
_INITIALS = {Role.RECIPE: "rR", Role.HELD_OUT: (*"eEvVdDhH", "te", "tE", "Te", "TE")}  # not `train`


def recipe_files(dataset: str, services: Services) -> list[BlobInfo]:
    """The recipes beside the dataset at this path, else the project's. More than one is a mistake."""
    found = (list(_files(folder, Role.RECIPE, services)) for folder in _folders(dataset))
    return next(filter(None, found), [])


def recipe_file(dataset: str, services: Services) -> BlobInfo | None:
    """The first of them."""
    return next(iter(recipe_files(dataset, services)), None)


def held_out_files(dataset: str, services: Services) -> list[BlobInfo]:
    """The held-out sets beside the dataset, else the project's. The first is read, the others are named.

    Names in `eval` come before those in `validation`, `dev`, `test` and `holdout`. A text file is one if it holds rows.
    """
    for folder in _folders(dataset):
        files = sorted(_files(folder, Role.HELD_OUT, services), key=lambda file: (_rank(file), file.path))
        if found := [file for file in files if not may_be_prose(file.path) or _holds_rows(file, services)]:
            return found
    return []


def held_out_file(dataset: str, services: Services) -> BlobInfo | None:
    """The first of them."""
    return next(iter(held_out_files(dataset, services)), None)


def _rank(file: BlobInfo) -> int:
    return held_out_rank(file_name(file.path)) or 0


def _holds_rows(file: BlobInfo, services: Services) -> bool:
    from shared.validation.intake import open_rows  # here and below: a dropped file is received without the readers

    return open_rows(services.blobs.read(file.path)).form is not None


def _files(folder: str, role: Role, services: Services) -> Iterator[BlobInfo]:
    """Files of a role in the folder itself. The API's own folders have roles too for those who ask for them."""
    for initial in _INITIALS[role]:
        for file in services.blobs.list(f"{folder}/{initial}"):
            name = file.path.removeprefix(f"{folder}/")
            if "/" not in name and role_of(f"datasets/project/{name}") is role:
                yield file


def _folders(dataset: str) -> list[str]:
    """The dataset's own and its project's, which mostly are one. None in the container's root."""
    folders = dataset.split("/")[1:-1]
    if not folders:
        return []
    project = f"{dataset.split('/')[0]}/{folders[0]}"
    return list(dict.fromkeys((dataset.rsplit("/", 1)[0], project)))


def needs_validation_job(run: Run, services: Services) -> bool:
    """Whether names are to be found, which takes a model, or a file is one of columns or a workbook, or larger than a
    function reads, as it is or unpacked."""
    from shared.validation.containers import needs_job

    if _searches_for_names(run, services):
        return True
    held_out = held_out_file(run.dataset.path, services)
    limit = services.config.inline_validation_max_bytes
    if max(run.dataset.size_bytes, held_out.size_bytes if held_out else 0) > limit:
        return True
    files = [run.dataset.path, *([held_out.path] if held_out else [])]
    try:
        return any(needs_job(services.blobs.read(path), limit) for path in files)
    except BlobNotFound:
        return False  # what reads it says so


def _searches_for_names(run: Run, services: Services) -> bool:
    from shared.validation.recipes import read_recipe
    from shared.validation.validator import ALL_CODES

    recipe = recipe_file(run.dataset.path, services)
    try:
        text = b"".join(services.blobs.read(recipe.path)) if recipe else None
    except BlobNotFound:
        return False
    read = read_recipe(text, services.config.default_base_model, Findings(ALL_CODES))
    return read.assumed.data.deidentify is not None
