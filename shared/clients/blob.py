"""BlobStore on Azure Blob Storage, with the unmodified `azure-storage-blob`."""

import logging
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, cast

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobBlock, BlobClient, BlobProperties, BlobServiceClient

from shared.clients.azure_errors import Meaning, failure, meaning
from shared.domain.errors import BlobNotFound, InvalidInput
from shared.domain.urls import is_loopback
from shared.ports import BlobInfo
from shared.ports.blobs import bad_path, check_path, check_prefix, is_part

CHUNK_BYTES = 4 * 1024 * 1024
# A blob has at most 50,000 blocks: 390 GiB, and one block is what a write holds in memory.
BLOCK_BYTES = 8 * 1024 * 1024
# The MD5 of every request's content goes along and the service refuses content that does not match it.
# (The SDK's CRC64 needs a further package.)
CHECKSUM: Literal["md5"] = "md5"
OPTIONS: dict[str, Any] = {
    "max_single_get_size": CHUNK_BYTES,
    "max_chunk_get_size": CHUNK_BYTES,
    "max_single_put_size": BLOCK_BYTES,
    "connection_timeout": 5,
    "read_timeout": 30,
    "retry_total": 3,
}

# The key every Azurite has (documentation, "Use the Azurite emulator"); no secret, and never sent to a host that
# is not this machine.
EMULATOR_ACCOUNT = "devstoreaccount1"
EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_CLOUD = r"core\.(?:windows\.net|usgovcloudapi\.net|chinacloudapi\.cn)"
_URL = re.compile(rf"https://[a-z0-9]+\.blob\.{_CLOUD}/?")
_BLOB_URL = re.compile(rf"https://[a-z0-9-]+\.blob\.(?:{_CLOUD}|fabric\.microsoft\.com)/")
_EMULATOR_URL = re.compile(rf"blob\+(?P<endpoint>http://[^/]+/{EMULATOR_ACCOUNT})/?")
_BAD_REQUEST = 400


def make_client(url: str, identity_client_id: str | None = None) -> BlobServiceClient:
    """The SDK's client for `https://ACCOUNT.blob.core.windows.net` or `blob+http://127.0.0.1:PORT/devstoreaccount1`.

    Raises InvalidInput `bad_blob_store_url` for anything else, also for an emulator that is not on this machine.
    """
    # It logs two records with all headers for every call.
    logging.getLogger("azure.core.pipeline.policies.http_logging_policy").setLevel(logging.WARNING)
    if _URL.fullmatch(url):
        credential = DefaultAzureCredential(managed_identity_client_id=identity_client_id)
        return BlobServiceClient(url, credential, **OPTIONS)
    match = _EMULATOR_URL.fullmatch(url)
    if match and is_loopback(match["endpoint"]):
        key = {"account_name": EMULATOR_ACCOUNT, "account_key": EMULATOR_KEY}
        return BlobServiceClient(match["endpoint"], key, **OPTIONS)
    message = f"not a Blob Storage account, or not on this machine: {url}"
    raise InvalidInput("bad_blob_store_url", message, "BLOB_STORE_URL")


class AzureBlobStore:
    """Block blobs of one account; any number of threads may share it.

    Every method may raise Transient (busy, unreachable, not answered) and PermanentFailure `platform` (no such
    container, access denied).
    """

    def __init__(self, url: str, *, identity_client_id: str | None = None) -> None:
        self._service = make_client(url, identity_client_id)

    def close(self) -> None:
        self._service.close()

    def info(self, path: str) -> BlobInfo | None:
        with _translated(path):
            try:
                found = self._any_blob(path).get_blob_properties()
            except ResourceNotFoundError as error:
                if meaning(error) is Meaning.ABSENT:
                    return None
                raise
        return _info(path, found.etag, found.size, found.last_modified)

    def read(self, path: str, *, etag: str | None = None) -> Iterator[bytes]:
        """In chunks of at most 4 MiB; the SDK asks for every further range with the etag of the first."""
        condition: dict[str, Any] = {}
        if etag is not None:
            condition = {"etag": f'"{etag}"', "match_condition": MatchConditions.IfNotModified}
        with _translated(path):
            chunks = self._any_blob(path).download_blob(max_concurrency=1, **condition).chunks()
        return _stream(path, chunks)

    def write(self, path: str, chunks: Iterable[bytes], *, if_absent: bool = False) -> BlobInfo:
        """In one request, or in blocks that become the blob when all are there.

        StoreConflict too if another writer has replaced the blob meanwhile: the service drops the blocks of all others.
        """
        blob = self._blob(path)
        condition: dict[str, Any] = {"match_condition": MatchConditions.IfMissing} if if_absent else {}
        size, block = 0, b""
        sent: list[BlobBlock] = []
        for block in _blocks(chunks):
            size += len(block)
            if len(block) < BLOCK_BYTES and not sent:
                break
            # Blocks of two writers must not replace each other: no id is used twice.
            sent.append(BlobBlock(uuid.uuid4().hex))
            with _translated(path):
                blob.stage_block(sent[-1].id, block, len(block), validate_content=CHECKSUM)
        with _translated(path):
            if sent:
                written = blob.commit_block_list(sent, validate_content=True, **condition)
            else:
                written = blob.upload_blob(block, length=size, overwrite=not if_absent, validate_content=CHECKSUM)
        return _info(path, str(written["etag"]), size, cast(datetime, written["last_modified"]))

    def list(self, prefix: str) -> Iterator[BlobInfo]:
        """A name that is not a path of ours is left out."""
        check_prefix(prefix)
        return self._list(prefix)

    def list_page(self, prefix: str, limit: int, cursor: str | None = None) -> tuple[Sequence[BlobInfo], str | None]:
        """In one request."""
        check_prefix(prefix)
        container, _, start = prefix.partition("/")
        found = self._service.get_container_client(container).list_blobs(start or None, results_per_page=limit)
        pages = found.by_page(cursor)
        with _translated(prefix):
            try:
                page = [_listed(container, one) for one in next(pages, ())]
            except HttpResponseError as error:
                if cursor is not None and error.status_code == _BAD_REQUEST:
                    raise InvalidInput("bad_cursor", "the cursor is not one this store gave out", "cursor") from error
                raise
        return [info for info in page if info is not None], pages.continuation_token or None  # type: ignore[attr-defined]

    def delete(self, path: str) -> None:
        with _translated(path):
            try:
                self._blob(path).delete_blob()
            except ResourceNotFoundError as error:
                if meaning(error) is not Meaning.ABSENT:
                    raise

    def _blob(self, path: str) -> BlobClient:
        check_path(path)
        container, _, name = path.partition("/")
        return self._service.get_blob_client(container, name)

    def _any_blob(self, path: str) -> BlobClient:
        if "://" not in path:
            return self._blob(path)
        if not _BLOB_URL.match(path) and not is_loopback(path):  # no token goes anywhere else
            raise bad_path(path)
        return BlobClient.from_blob_url(path, self._service.credential, **OPTIONS)

    def _list(self, prefix: str) -> Iterator[BlobInfo]:
        container, slash, start = prefix.partition("/")
        with _translated(prefix):
            containers = self._service.list_containers(name_starts_with=container)  # asks when it is gone through
            for name in [container] if slash else [one.name for one in containers]:
                for found in self._service.get_container_client(name).list_blobs(name_starts_with=start or None):
                    if (info := _listed(name, found)) is not None:
                        yield info


@contextmanager
def _translated(path: str) -> Iterator[None]:
    """Raises failures of the SDK as ours, about the blob at `path`."""
    try:
        yield
    except AzureError as error:
        if meaning(error) is Meaning.ABSENT:
            raise BlobNotFound(path) from error
        raise failure("blob", error, f"blob {path}") from error


def _stream(path: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    with _translated(path):
        yield from chunks


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of BLOCK_BYTES; only the last may be shorter."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= BLOCK_BYTES:
            yield bytes(waiting[:BLOCK_BYTES])
            del waiting[:BLOCK_BYTES]
    if waiting:
        yield bytes(waiting)


def _listed(container: str, found: BlobProperties) -> BlobInfo | None:
    """None for a name that is not a path of ours."""
    path = f"{container}/{found.name}"
    return _info(path, found.etag, found.size, found.last_modified) if all(map(is_part, path.split("/"))) else None


def _info(path: str, etag: str, size_bytes: int, modified_at: datetime) -> BlobInfo:
    # Quoted in an answer's header, bare in a list.
    return BlobInfo(path=path, etag=etag.strip('"'), size_bytes=size_bytes, modified_at=modified_at)
