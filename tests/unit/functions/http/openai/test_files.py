"""OpenAI's own client: files are kept, listed, read and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from shared.domain.drop_zone import starts_a_run
from shared.ports import Services
from tests.unit.shared.support import ROW, take

if TYPE_CHECKING:
    from openai import OpenAI


def test_a_file_is_kept_listed_read_and_deleted(ai: OpenAI, services: Services) -> None:
    import openai

    kept = ai.files.create(file=("my data.jsonl", ROW), purpose="fine-tune")
    assert (kept.object, kept.filename, kept.bytes, kept.purpose, kept.status) == (
        "file",
        "my data.jsonl",
        len(ROW),
        "fine-tune",
        "processed",
    )
    assert ai.files.retrieve(kept.id) == kept
    assert ai.files.content(kept.id).read() == ROW
    second = ai.files.create(file=("other.jsonl", ROW * 2), purpose="fine-tune")
    assert [file.id for file in ai.files.list(limit=1)] == [second.id, kept.id], "the client asks for the next page"
    deleted = ai.files.delete(kept.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (kept.id, True, "file")
    with pytest.raises(openai.NotFoundError) as refused:
        ai.files.content(kept.id)
    assert (refused.value.code, refused.value.type, refused.value.param) == (
        "file_not_found",
        "invalid_request_error",
        "file_id",
    )
    assert take(services, "storage-events") == []


def test_an_upload_starts_no_run_and_is_no_dataset_that_was_missed(
    ai: OpenAI, training: str, services: Services
) -> None:
    uploads = [blob.path for blob in services.blobs.list("datasets/")]
    assert uploads == [f"datasets/_files/{training}"]
    assert not starts_a_run(uploads[0])


@pytest.mark.parametrize(
    ("parameters", "code", "param"),
    [
        ({"purpose": "assistants"}, "unsupported_purpose", "purpose"),
        ({"purpose": "fine-tune", "extra_body": {"color": "red"}}, "unknown_parameter", "color"),
    ],
)
def test_an_upload_for_something_else_is_refused(ai: OpenAI, parameters: dict[str, Any], code: str, param: str) -> None:
    import openai

    with pytest.raises(openai.BadRequestError) as refused:
        ai.files.create(file=("train.jsonl", ROW), **parameters)
    assert (refused.value.code, refused.value.param, refused.value.type) == (code, param, "invalid_request_error")


def test_a_file_whose_name_is_too_long_is_refused_and_not_kept(ai: OpenAI, services: Services) -> None:
    import openai

    for length in (256, 1000):
        with pytest.raises(openai.BadRequestError) as refused:
            ai.files.create(file=("x" * length, ROW), purpose="fine-tune")
        assert (refused.value.code, refused.value.param) == ("file_name", "file")
    assert list(services.blobs.list("datasets/")) == []
