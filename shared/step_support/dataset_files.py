"""What lies beside a dataset in the drop zone: its recipe and its held-out set."""

from __future__ import annotations

from shared.domain.paths import RECIPE_NAME
from shared.ports import BlobInfo, Services


def recipe_file(dataset: str, services: Services) -> BlobInfo | None:
    """`recipe.yaml` beside the dataset at this path, else the project's."""
    return next(filter(None, (services.blobs.info(f"{folder}/{RECIPE_NAME}") for folder in _folders(dataset))), None)


def held_out_file(dataset: str, services: Services) -> BlobInfo | None:
    """The held-out set beside the dataset, else the project's: the folder's first `eval*` blob by name."""
    found = (next(services.blobs.list(f"{folder}/eval"), None) for folder in _folders(dataset))
    return next(filter(None, found), None)


def _folders(dataset: str) -> dict[str, None]:
    """The dataset's own and its project's, which mostly are one."""
    project = "/".join(dataset.split("/")[:2])
    return dict.fromkeys((dataset.rsplit("/", 1)[0], project))
