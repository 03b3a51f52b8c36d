"""What lies beside a dataset in the drop zone: its recipe and its held-out set."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from heapq import nsmallest
from itertools import chain, islice

from shared.domain.dataset import Beside, DatasetRef
from shared.domain.drop_zone import MAX_RECIPE_BYTES, Role, held_out_rank, may_be_prose, role_of
from shared.domain.errors import BlobNotFound, FailureClass, PermanentFailure, StoreConflict
from shared.domain.findings import Findings
from shared.domain.paths import file_name
from shared.domain.run import Run
from shared.ports import BlobInfo, Services

# What names of recipes and of held-out files begin with.
_INITIALS = {Role.RECIPE: "rR", Role.HELD_OUT: (*"eEvVdDhH", "te", "tE", "Te", "TE")}  # not `train`

# So many are looked at: a run's document and its report are no lists of thousands.
MAX_RECIPES, MAX_HELD_OUT = 10, 100


def recipe_files(dataset: str, services: Services) -> list[BlobInfo]:
    """The recipes beside the dataset at this path, else the project's. More than one is a mistake."""
    found = (list(islice(_files(folder, Role.RECIPE, services), MAX_RECIPES)) for folder in _folders(dataset))
    return next(filter(None, found), [])


def recipe_file(dataset: str, services: Services) -> BlobInfo | None:
    """The first of them."""
    return next(iter(recipe_files(dataset, services)), None)


def held_out_files(dataset: str, services: Services) -> Iterator[BlobInfo]:
    """The held-out sets beside the dataset, else the project's. The first is read, the others are named.

    Names in `eval` come before those in `validation`, `dev`, `test` and `holdout`. A text file is one if it holds rows.
    """
    for folder in _folders(dataset):
        files = _files(folder, Role.HELD_OUT, services)
        first_files = nsmallest(MAX_HELD_OUT, files, key=lambda file: (_rank(file), file.path))
        found = (file for file in first_files if not may_be_prose(file.path) or _holds_rows(file, services))
        if (first := next(found, None)) is not None:
            yield from chain([first], found)
            return


def held_out_file(dataset: str, services: Services) -> BlobInfo | None:
    """The first of them."""
    return next(held_out_files(dataset, services), None)


def pinned(file: BlobInfo, services: Services, *updates: Callable[[bytes], None]) -> DatasetRef:
    """The file with the hash of its content, which `updates` are given too.

    Raises PermanentFailure `file_too_large`, BlobNotFound, and StoreConflict if it is replaced meanwhile.
    """
    _check_size(file, services.config.max_file_bytes, "MAX_FILE_BYTES allows")
    own = hashlib.sha256()
    for chunk in services.blobs.read(file.path, etag=file.etag):
        for update in (own.update, *updates):
            update(chunk)
    return DatasetRef(path=file.path, etag=file.etag, size_bytes=file.size_bytes, sha256=own.hexdigest())


def _check_size(file: BlobInfo, limit: int, whose: str) -> None:
    if file.size_bytes > limit:
        message = f"it has {file.size_bytes:,} bytes, {whose} {limit:,}"
        raise PermanentFailure(FailureClass.DATA, "file_too_large", message, file.path)


def pin_beside(held_out: BlobInfo | None, recipes: list[BlobInfo], services: Services) -> tuple[str, Beside]:
    """Hash of what lies beside a dataset and decides its outcome too: another recipe, base model or held-out set makes
    the same data new. And these files, pinned. Raises as `pinned`."""
    default = services.config.default_base_model
    digest = hashlib.sha256(b"" if recipes else default.encode())
    for one in recipes:  # before any is read
        _check_size(one, MAX_RECIPE_BYTES, "a recipe has at most")
    of_recipes = tuple(pinned(one, services, digest.update) for one in recipes)
    digest.update(b"\0")
    of_held_out = pinned(held_out, services, digest.update) if held_out else None
    digest.update(b"\0")
    return digest.hexdigest()[:16], Beside(default_base_model=default, recipes=of_recipes, held_out=of_held_out)


@contextmanager
def reading_pinned(run: Run) -> Iterator[None]:
    """Raises PermanentFailure `dataset_replaced` for a file that is no longer the one received."""
    try:
        yield
    except (BlobNotFound, StoreConflict) as error:
        raise replaced(run) from error


def replaced(run: Run) -> PermanentFailure:
    message = (
        "data, recipe or held-out rows were deleted or replaced after they were received: new data has a run of its "
        "own, else `droptune retry` the run"
    )
    return PermanentFailure(FailureClass.DATA, "dataset_replaced", message, run.dataset.path)


def require_same_files(run: Run, services: Services) -> Run:
    """The run with its data and what lies beside them, which must be what lay there when it was received: other files,
    one more or one less are refused. The same content written again is the same: whoever writes it again gets no run of
    its own, for this one has it. Raises PermanentFailure `dataset_replaced`."""
    dataset, before = run.dataset, run.beside
    with reading_pinned(run):
        info = services.blobs.info(dataset.path)
        if info is not None and info.etag != dataset.etag and info.size_bytes == dataset.size_bytes:
            dataset = pinned(info, services)
        if info is None or (dataset.etag, dataset.sha256) != (info.etag, run.dataset.sha256):
            raise replaced(run)
        run = run.evolve(dataset=dataset)
        held_out, recipes = held_out_file(dataset.path, services), recipe_files(dataset.path, services)
        found = [*([held_out] if held_out else []), *recipes]
        if before and [(one.path, one.etag) for one in found] == [(one.path, one.etag) for one in before.files]:
            return run
        fingerprint, now = pin_beside(held_out, recipes, services)
    same = fingerprint == run.fingerprint  # what earlier versions kept
    if before is not None:
        same = [(one.path, one.sha256) for one in now.files] == [(one.path, one.sha256) for one in before.files]
    if not same:
        raise replaced(run)
    return run.evolve(beside=now)


def _rank(file: BlobInfo) -> int:
    return held_out_rank(file_name(file.path)) or 0


def _holds_rows(file: BlobInfo, services: Services) -> bool:
    """Also what a function reads no rows of: its size, its turn and the job decide about it."""
    from shared.validation.containers import needs_job  # here and below: a drop is received without the readers
    from shared.validation.intake import open_rows

    read, limit = partial(services.blobs.read, file.path, etag=file.etag), services.config.inline_validation_max_bytes
    return file.size_bytes > limit or needs_job(read(), limit) or open_rows(read()).form is not None


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


def read_recipe_of(run: Run, services: Services) -> bytes | None:
    """The text of the first recipe received with it; None if there was none."""
    recipe = next(iter(run.received.recipes), None)
    return b"".join(services.blobs.read(recipe.path, etag=recipe.etag)) if recipe else None


def needs_validation_job(run: Run, services: Services) -> bool:
    """Whether names are to be found, which takes a model, or a file is one of columns or a workbook, or larger than a
    function reads, as it is or unpacked."""
    from shared.validation.containers import needs_job

    if run.beside is None:
        return True  # an earlier version received it
    limit = services.config.inline_validation_max_bytes
    files = [run.dataset, *filter(None, [run.received.held_out])]
    if max(one.size_bytes for one in files) > limit:
        return True
    try:
        return _searches_for_names(run, services) or any(
            needs_job(services.blobs.read(one.path, etag=one.etag), limit) for one in files
        )
    except (BlobNotFound, StoreConflict):
        return False  # what reads it says so


def _searches_for_names(run: Run, services: Services) -> bool:
    from shared.validation.recipes import read_recipe
    from shared.validation.validator import ALL_CODES

    text = read_recipe_of(run, services)
    read = read_recipe(text, services.config.default_base_model, Findings(ALL_CODES))
    return read.assumed.data.deidentify is not None
