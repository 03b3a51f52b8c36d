"""What a BlobStore promises, whichever it is, also by the rules of `shared.ports.blobs`."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.errors import BlobNotFound, InvalidInput, StoreConflict
from shared.ports import BlobStore
from tests.contract.backends import BlobBackend
from tests.contract.threads import in_threads

MEGABYTE = 1024 * 1024


@pytest.fixture
def blobs(blob_backend: BlobBackend) -> BlobStore:
    return blob_backend.blobs


@pytest.fixture
def folder(blob_backend: BlobBackend) -> str:
    """A prefix no other test uses."""
    return f"{blob_backend.container}/{uuid.uuid4().hex}"


def content(blobs: BlobStore, path: str, etag: str | None = None) -> bytes:
    return b"".join(blobs.read(path, etag=etag))


def test_a_blob_comes_back_as_it_was_written(blobs: BlobStore, folder: str) -> None:
    written = blobs.write(f"{folder}/a/train.jsonl", [b"one", b"", b"two\x00\xff"])
    assert content(blobs, f"{folder}/a/train.jsonl") == b"onetwo\x00\xff"
    assert blobs.info(f"{folder}/a/train.jsonl") == written
    assert written.path == f"{folder}/a/train.jsonl"
    assert written.size_bytes == 8
    assert abs(datetime.now(UTC) - written.modified_at) < timedelta(minutes=5)


def test_a_blob_may_be_empty(blobs: BlobStore, folder: str) -> None:
    assert blobs.write(f"{folder}/empty", []).size_bytes == 0
    assert content(blobs, f"{folder}/empty") == b""


def test_an_absent_blob_has_no_info_and_cannot_be_read(blobs: BlobStore, folder: str) -> None:
    blobs.write(f"{folder}/a/b", [b"x"])
    for path in (f"{folder}/nothing", f"{folder}/a", f"{folder}/a/b/c"):
        assert blobs.info(path) is None
        with pytest.raises(BlobNotFound, match=f"blob_not_found: no blob at {path}"):
            content(blobs, path)


def test_a_large_blob_is_read_in_chunks(blobs: BlobStore, folder: str) -> None:
    data = bytes(range(256)) * (5 * MEGABYTE // 256) + b"end"
    blobs.write(f"{folder}/large", [data])
    chunks = list(blobs.read(f"{folder}/large"))
    assert b"".join(chunks) == data
    assert max(map(len, chunks)) <= 4 * MEGABYTE
    assert all(chunks)


def test_every_write_gives_a_new_etag_though_the_bytes_are_the_same(blobs: BlobStore, folder: str) -> None:
    etags = [blobs.write(f"{folder}/same", [b"bytes"]).etag for _ in range(50)]
    assert len(set(etags)) == 50


def test_a_write_replaces_the_whole_content(blobs: BlobStore, folder: str) -> None:
    blobs.write(f"{folder}/a", [b"a long first content"])
    blobs.write(f"{folder}/a", [b"short"])
    assert content(blobs, f"{folder}/a") == b"short"


def test_reading_a_pinned_version_is_refused_after_a_replacement(blobs: BlobStore, folder: str) -> None:
    old = blobs.write(f"{folder}/a", [b"old"])
    assert content(blobs, f"{folder}/a", old.etag) == b"old"
    new = blobs.write(f"{folder}/a", [b"new"])
    with pytest.raises(StoreConflict, match=f"blob {folder}/a was changed by another writer"):
        content(blobs, f"{folder}/a", old.etag)
    assert content(blobs, f"{folder}/a", new.etag) == b"new"


def test_a_write_if_absent_happens_once(blobs: BlobStore, folder: str) -> None:
    written = blobs.write(f"{folder}/a", [b"first"], if_absent=True)
    with pytest.raises(StoreConflict, match=f"blob {folder}/a was changed by another writer"):
        blobs.write(f"{folder}/a", [b"second"], if_absent=True)
    assert blobs.info(f"{folder}/a") == written
    assert content(blobs, f"{folder}/a") == b"first"


def test_of_eight_writers_if_absent_one_succeeds(blobs: BlobStore, folder: str) -> None:
    winners = []

    def write(n: int) -> None:
        try:
            blobs.write(f"{folder}/claim", [b"%d" % n], if_absent=True)
            winners.append(b"%d" % n)
        except StoreConflict:
            pass

    in_threads(8, write)
    assert winners == [content(blobs, f"{folder}/claim")]


def test_a_write_that_fails_half_way_leaves_the_old_content(blobs: BlobStore, folder: str) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * MEGABYTE
        raise ConnectionError("the source is gone")

    blobs.write(f"{folder}/a", [b"old"])
    for path in (f"{folder}/a", f"{folder}/b"):
        with pytest.raises(ConnectionError, match="the source is gone"):
            blobs.write(path, broken())
    assert content(blobs, f"{folder}/a") == b"old"
    assert [one.path for one in blobs.list(f"{folder}/")] == [f"{folder}/a"]


def test_a_reader_sees_the_old_or_the_new_content_and_never_a_part(blobs: BlobStore, folder: str) -> None:
    versions = [letter * (3 * MEGABYTE) for letter in (b"a", b"b", b"c")]
    blobs.write(f"{folder}/a", [versions[0]])
    stop = threading.Event()

    def replace() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            blobs.write(f"{folder}/a", [versions[n % 3]])

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(20):
            # A service that fetches range by range notices the replacement and says so.
            with suppress(StoreConflict):
                assert content(blobs, f"{folder}/a") in versions
    finally:
        stop.set()
        writer.join()


def test_blobs_are_listed_in_the_order_of_their_whole_paths(blobs: BlobStore, folder: str) -> None:
    # "-" and "." sort before "/", "0" after it: the order of names inside folders is another one.
    names = ["a-b", "a.b", "a/b", "a/c/d", "a0", "b/a", "b/é"]
    for name in reversed(names):
        blobs.write(f"{folder}/{name}", [b"x"])
    listed = list(blobs.list(f"{folder}/"))
    assert [one.path for one in listed] == [f"{folder}/{name}" for name in names]
    assert listed == [blobs.info(one.path) for one in listed]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_hold_every_blob_once_in_order_though_others_come_and_go(
    blobs: BlobStore, folder: str, limit: int
) -> None:
    names = ["a-b", "a.b", "a/b", "a/c/d", "a0", "b/a", "b/é"]
    for name in names:
        blobs.write(f"{folder}/{name}", [b"x"])
    seen: list[str] = []
    cursor, more = None, True
    while more:
        page, cursor = blobs.list_page(f"{folder}/", limit, cursor)
        assert len(page) <= limit
        seen += [one.path for one in page]
        assert page == [blobs.info(one.path) for one in page]
        more = cursor is not None
        if more:
            blobs.write(f"{folder}/0-before-all", [b"x"])
            blobs.delete(seen[-1])
    assert seen == [f"{folder}/{name}" for name in names]
    assert blobs.list_page(f"{folder}/nothing/", limit) == ([], None)


def test_a_prefix_is_a_string_and_not_a_folder(blobs: BlobStore, folder: str) -> None:
    for name in ("acme/train.jsonl", "acme/eval.jsonl", "acme-2/train.jsonl", "bolt/train.jsonl"):
        blobs.write(f"{folder}/{name}", [b"x"])

    def names(prefix: str) -> list[str]:
        return [one.path.removeprefix(f"{folder}/") for one in blobs.list(f"{folder}/{prefix}")]

    assert names("acme") == ["acme-2/train.jsonl", "acme/eval.jsonl", "acme/train.jsonl"]
    assert names("acme/") == ["acme/eval.jsonl", "acme/train.jsonl"]
    assert names("acme/tr") == ["acme/train.jsonl"]
    assert names("acme/train.jsonl") == ["acme/train.jsonl"]
    assert names("acme/train.jsonl/") == []
    assert names("nobody/") == []


def test_the_container_does_not_count_toward_the_1024_characters_of_a_name(blobs: BlobStore, folder: str) -> None:
    container, _, unique = folder.partition("/")
    path = f"{container}/{unique}{'/a' * 495}/b"
    path += "c" * (1024 - len(path.partition("/")[2]))
    blobs.write(path, [b"x"])
    assert content(blobs, path) == b"x"
    with pytest.raises(InvalidInput, match="bad_blob_path"):
        blobs.write(f"{path}c", [b"x"])


def test_a_deleted_blob_is_gone_and_deleting_again_is_fine(blobs: BlobStore, folder: str) -> None:
    blobs.write(f"{folder}/a", [b"x"])
    for _ in range(2):
        blobs.delete(f"{folder}/a")
        assert blobs.info(f"{folder}/a") is None
    assert list(blobs.list(f"{folder}/")) == []
    blobs.write(f"{folder}/a", [b"y"], if_absent=True)
    assert content(blobs, f"{folder}/a") == b"y"


@pytest.mark.parametrize(
    "path",
    ["", "alone", "/a", "contract/", "contract//a", "contract/../a", "contract/./a", "../contract/a", "..",
     "contract/a/..", "contract/.hidden", ".tmp/a", "contract/a\\..\\b", "contract/a\x00b", "/etc/passwd",
     f"contract/{'a/' * 512}a"],
)  # fmt: skip
def test_a_path_that_could_lead_elsewhere_is_refused(blobs: BlobStore, path: str) -> None:
    for use in (blobs.info, blobs.delete, lambda p: content(blobs, p), lambda p: blobs.write(p, [b"x"])):
        with pytest.raises(InvalidInput, match=r"bad_blob_path: .* is not <container>/<name>"):
            use(path)


@pytest.mark.parametrize("prefix", ["contract/../", "../", "/etc/", "contract//a", "contract/.hidden/"])
def test_a_prefix_that_could_lead_elsewhere_is_refused(blobs: BlobStore, prefix: str) -> None:
    with pytest.raises(InvalidInput, match=r"bad_blob_path: .* is not <container>/<name>"):
        list(blobs.list(prefix))
