"""Small JSON documents in the blob store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from shared.domain.errors import BlobNotFound, DroptuneError, FailureClass, PermanentFailure
from shared.domain.upgrades import read_file
from shared.ports import BlobStore

Model = TypeVar("Model", bound=BaseModel)


def read_model(blobs: BlobStore, path: str, model: type[Model]) -> Model | None:
    """The document at `path`; None if absent.

    Raises PermanentFailure `unreadable_document` (class code) if it does not fit the model.
    """
    try:
        text = b"".join(blobs.read(path))
    except BlobNotFound:
        return None
    with reading(path, model):
        return read_file(model, text)


@contextmanager
def reading(path: str, model: type[BaseModel]) -> Iterator[None]:
    """Of what a file holds, whatever that is. Raises PermanentFailure `unreadable_document` (class code)."""
    try:
        yield
    except DroptuneError:
        raise
    except Exception as error:  # also what an upgrade of it stumbles over
        # The error count only: a message may quote the document, and documents may quote rows.
        count = error.error_count() if isinstance(error, ValidationError) else None
        what = "a form that does not" if count is None else f"{count} fields that do not"
        message = f"{PurePosixPath(path).name} has {what} fit {model.__name__}"
        raise PermanentFailure(FailureClass.CODE, "unreadable_document", message, path) from error


def write_model(blobs: BlobStore, path: str, document: BaseModel) -> None:
    blobs.write(path, [document.model_dump_json(indent=1).encode()])
