"""What only the Blob Storage client promises; what every BlobStore promises is in tests/contract."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from shared.clients import blob
from shared.clients.blob import BLOCK_BYTES, CHUNK_BYTES, AzureBlobStore
from shared.domain.errors import InvalidInput, PermanentFailure, StoreConflict, Transient
from tests.emulator_servers import BLOB_CONTAINER, azurite_url


@pytest.fixture
def blobs() -> Iterator[AzureBlobStore]:
    with closing(AzureBlobStore(azurite_url())) as store:
        yield store


@pytest.fixture
def path() -> str:
    return f"{BLOB_CONTAINER}/{uuid.uuid4().hex}/model.safetensors"


def content(blobs: AzureBlobStore, path: str) -> bytes:
    return b"".join(blobs.read(path))


@pytest.mark.parametrize(
    "url",
    [
        "https://account.blob.core.windows.net.evil.example",
        "https://evil.example/account.blob.core.windows.net",
        "http://account.blob.core.windows.net",
        "https://account.blob.core.windows.net/container",
        "blob+http://10.0.0.5:10000/devstoreaccount1",
        "blob+http://127.0.0.1:10000/another",
        "blob+http://127.0.0.1:10000@evil.example/devstoreaccount1",
    ],
)
def test_neither_token_nor_key_goes_to_another_host(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        AzureBlobStore(url)
    assert caught.value.problem.code == "bad_blob_store_url"
    assert caught.value.problem.param == "BLOB_STORE_URL"


def test_a_blob_of_another_account_is_read_by_its_url(blobs: AzureBlobStore, path: str) -> None:
    written, url = blobs.write(path, [b"rows"]), f"{azurite_url().removeprefix('blob+')}/{path}"
    assert blobs.info(url) == replace(written, path=url)
    assert b"".join(blobs.read(url, etag=written.etag)) == b"rows"
    assert blobs.info(f"{url}-gone") is None


@pytest.mark.parametrize("url", ["https://evil.example/a/b", "https://a.blob.core.windows.net.evil.example/a/b"])
def test_no_other_url_is_asked(blobs: AzureBlobStore, url: str) -> None:
    for ask in (blobs.info, blobs.read):
        with pytest.raises(InvalidInput, match="bad_blob_path"):
            ask(url)


def test_an_account_in_azure_is_reached_with_the_identity_of_the_process() -> None:
    with closing(blob.make_client("https://account.blob.core.windows.net")) as client:
        assert type(client.credential).__name__ == "DefaultAzureCredential"
        assert client.url == "https://account.blob.core.windows.net/"


@pytest.mark.parametrize("size", [BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_a_blob_of_any_number_of_blocks_comes_back_as_it_was_written(
    blobs: AzureBlobStore, path: str, size: int
) -> None:
    data = uuid.uuid4().bytes * (size // 16 + 1)
    data = data[:size]
    pieces = (data[start : start + 1_000_003] for start in range(0, size, 1_000_003))
    written = blobs.write(path, pieces)
    assert written == blobs.info(path)
    assert written.size_bytes == size
    assert content(blobs, path) == data


def test_a_blob_replaced_while_its_ranges_are_read_is_noticed(blobs: AzureBlobStore, path: str) -> None:
    """No etag is given: the first range pins it."""
    blobs.write(path, [b"a" * (3 * CHUNK_BYTES)])
    reading = blobs.read(path)
    assert next(reading) == b"a" * CHUNK_BYTES
    blobs.write(path, [b"b" * (3 * CHUNK_BYTES)])
    with pytest.raises(StoreConflict, match=f"blob {path} was changed by another writer"):
        list(reading)


def test_blocks_of_two_writers_are_never_mixed(blobs: AzureBlobStore, path: str) -> None:
    """The commit of one drops the blocks that another has sent so far; ids given twice would now name the first's."""

    def overtaken() -> Iterator[bytes]:
        yield b"a" * BLOCK_BYTES
        blobs.write(path, [b"b" * (2 * BLOCK_BYTES)])
        yield b"a" * BLOCK_BYTES

    with pytest.raises(StoreConflict, match=f"blob {path} was changed by another writer"):
        blobs.write(path, overtaken())
    assert content(blobs, path) == b"b" * (2 * BLOCK_BYTES)


def test_a_large_blob_written_if_absent_is_refused_if_it_is_there(blobs: AzureBlobStore, path: str) -> None:
    blobs.write(path, [b"first"])
    with pytest.raises(StoreConflict):
        blobs.write(path, [b"x" * (2 * BLOCK_BYTES)], if_absent=True)
    assert content(blobs, path) == b"first"


@pytest.mark.parametrize("size", [1000, BLOCK_BYTES + 1])
def test_content_damaged_on_its_way_is_refused_by_the_service(
    blobs: AzureBlobStore, path: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    service: Any = blobs._service
    send = service._pipeline._transport.send

    def damaged(request: Any, **options: Any) -> Any:
        if request.method == "PUT" and request.body and "Content-MD5" in request.headers:
            body = request.body if isinstance(request.body, bytes) else request.body.read()
            request.body = b"X" + body[1:]
        return send(request, **options)

    monkeypatch.setattr(service._pipeline._transport, "send", damaged)
    with pytest.raises(Transient, match="blob_busy"):
        blobs.write(path, [b"a" * size])
    monkeypatch.undo()
    assert blobs.info(path) is None


def test_a_container_that_is_not_there_is_not_taken_for_an_absent_blob(blobs: AzureBlobStore) -> None:
    uses = (
        blobs.info,
        blobs.delete,
        lambda path: content(blobs, path),
        lambda path: blobs.write(path, [b"x"]),
        lambda path: list(blobs.list(path)),
    )
    for use in uses:
        with pytest.raises(PermanentFailure) as caught:
            use("nowhere/a")
        assert caught.value.problem.code == "blob_refused"


def test_a_service_that_is_not_there_is_worth_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("azure.storage.blob._shared.policies.ExponentialRetry.get_backoff_time", lambda *_: 0)
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"blob+http://127.0.0.1:{taken.getsockname()[1]}/devstoreaccount1"
        with closing(AzureBlobStore(url)) as store, pytest.raises(Transient) as caught:
            store.info("runs/a")
    assert caught.value.problem.code == "blob_busy"


def test_a_prefix_without_a_slash_is_the_beginning_of_a_container(blobs: AzureBlobStore, path: str) -> None:
    blobs.write(path, [b"x"])
    assert path in [one.path for one in blobs.list(BLOB_CONTAINER[:-2])]
    assert list(blobs.list("nowhere")) == []


def test_what_a_path_of_ours_cannot_name_is_not_listed(blobs: AzureBlobStore, path: str) -> None:
    folder = path.rpartition("/")[0]
    client = blobs._service.get_container_client(BLOB_CONTAINER)
    for name in (".hidden", "a//b", "good"):
        client.upload_blob(f"{folder.partition('/')[2]}/{name}", b"x")
    assert [one.path for one in blobs.list(f"{folder}/")] == [f"{folder}/good"]


@pytest.mark.parametrize("part", ["a" * 256, "é" * 128])
def test_a_part_of_a_name_may_be_longer_than_a_file_name(blobs: AzureBlobStore, path: str, part: str) -> None:
    long = f"{path}/{part}"
    written = blobs.write(long, [b"x"])
    assert content(blobs, long) == b"x"
    assert list(blobs.list(path)) == [written]


def test_a_call_leaves_nothing_in_the_log(blobs: AzureBlobStore, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        blobs.info(f"{BLOB_CONTAINER}/secret-name")
    assert [record for record in caplog.records if record.name.startswith("azure")] == []
