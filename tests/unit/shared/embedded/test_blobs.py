"""What only the embedded blob store promises: its files, other writers, sudden death."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from shared.domain.errors import BlobNotFound, InvalidInput, StoreConflict
from shared.embedded.blobs import FileBlobStore
from tests.unit.shared.embedded.support import accepted_before_kill


def test_blobs_accepted_before_kill_9_are_whole(tmp_path: Path) -> None:
    accepted = accepted_before_kill(
        tmp_path,
        """
blobs, n = blobs(), 0
while True:
    blobs.write("runs/model", [bytes([n % 256]) * 4096] * 50)
    print(n % 256, flush=True)
    n += 1
""",
        lines=20,
    )
    content = b"".join(FileBlobStore(tmp_path / "blobs").read("runs/model"))
    last = int(accepted[-1])
    assert content in (bytes([last]) * 204_800, bytes([(last + 1) % 256]) * 204_800)


def test_a_file_dropped_with_cp_is_a_blob(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path)
    (tmp_path / "datasets" / "acme").mkdir(parents=True)
    (tmp_path / "datasets" / "acme" / "train.jsonl").write_bytes(b"{}\n")
    [found] = blobs.list("datasets/")
    assert found.path == "datasets/acme/train.jsonl"
    assert b"".join(blobs.read(found.path, etag=found.etag)) == b"{}\n"


def test_a_blob_is_a_file_that_a_job_can_open(tmp_path: Path) -> None:
    FileBlobStore(tmp_path).write("runs/r1/result.json", [b"{}"])
    assert (tmp_path / "runs" / "r1" / "result.json").read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["a" * 256, "é" * 128, f"{'a' * 256}/b", "/".join(["\U0001f600" * 63] * 16)])
def test_a_name_too_long_for_a_file_is_refused(tmp_path: Path, name: str) -> None:
    blobs = FileBlobStore(tmp_path)
    for use in (blobs.info, blobs.delete, blobs.read, lambda path: blobs.write(path, [b"x"])):
        with pytest.raises(InvalidInput, match="bad_blob_path: "):
            use(f"runs/{name}")
    with pytest.raises(InvalidInput, match="bad_blob_path: "):
        blobs.list(f"runs/{name}/")


def test_no_writer_leaves_a_temporary_file(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path)
    blobs.write("runs/a", [b"x"])
    blobs.write("runs/b", [b"x"], if_absent=True)
    with pytest.raises(StoreConflict, match="blob runs/b was changed"):
        blobs.write("runs/b", [b"x"], if_absent=True)
    with pytest.raises(ZeroDivisionError):
        blobs.write("runs/c", (b"x" * (1 // n) for n in (1, 0)))
    assert list((tmp_path / ".tmp").iterdir()) == []


def test_files_that_are_hidden_linked_or_in_no_container_are_not_listed(tmp_path: Path) -> None:
    root = tmp_path / "blobs"
    blobs = FileBlobStore(root)
    blobs.write("runs/seen", [b"x"])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    for hidden in (root / ".tmp" / "part", root / "runs" / ".part", root / "stray", root / "runs" / "a\\b"):
        hidden.write_bytes(b"x")
    (root / "runs" / "folder").symlink_to(outside)
    (root / "runs" / "file").symlink_to(outside / "secret")
    assert [one.path for one in blobs.list("")] == ["runs/seen"]
    for path in ("runs/folder/secret", "runs/file"):
        with pytest.raises(InvalidInput, match="bad_blob_path: "):
            blobs.read(path)
        with pytest.raises(InvalidInput, match="bad_blob_path: "):
            blobs.write(path, [b"overwritten"])
    assert (outside / "secret").read_bytes() == b"secret"


def test_a_file_overwritten_in_place_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path)
    blobs.write("runs/a", [b"a" * 3_000_000])
    chunks = blobs.read("runs/a")
    assert next(iter(chunks))[:1] == b"a"
    (tmp_path / "runs" / "a").write_bytes(b"b" * 3_000_000)
    with pytest.raises(StoreConflict, match="blob runs/a was changed by another writer"):
        b"".join(chunks)


def test_a_blob_deleted_before_its_first_chunk_is_not_found(tmp_path: Path) -> None:
    blobs = FileBlobStore(tmp_path)
    blobs.write("runs/a", [b"a"])
    chunks = blobs.read("runs/a")
    blobs.delete("runs/a")
    with pytest.raises(BlobNotFound, match="no blob at runs/a"):
        b"".join(chunks)


@pytest.mark.parametrize("if_absent", [False, True])
def test_a_blob_cannot_be_a_folder_too(tmp_path: Path, if_absent: bool) -> None:
    blobs = FileBlobStore(tmp_path)
    blobs.write("runs/a/b", [b"x"])
    for path in ("runs/a", "runs/a/b/c"):
        with pytest.raises(InvalidInput, match=f"blob_name_taken: {path} is a folder or lies below"):
            blobs.write(path, [b"y"], if_absent=if_absent)
    blobs.delete("runs/a")
    assert [one.path for one in blobs.list("runs/")] == ["runs/a/b"]


def test_what_killed_writers_left_is_removed_a_day_later(tmp_path: Path) -> None:
    FileBlobStore(tmp_path)
    old, new = tmp_path / ".tmp" / "old", tmp_path / ".tmp" / "new"
    for file in (old, new):
        file.write_bytes(b"part")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    FileBlobStore(tmp_path)
    assert list((tmp_path / ".tmp").iterdir()) == [new]


@pytest.mark.parametrize("others", [20, 2000])
def test_a_page_of_a_folder_that_has_not_changed_reads_what_it_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    folder = tmp_path / "datasets" / "shop"
    (folder / "sub").mkdir(parents=True)
    for number in range(others):
        (folder / f"{number:05}.jsonl").touch()
    for each in (folder, folder.parent, folder / "sub"):
        os.utime(each, (1, 1))
    blobs, read = FileBlobStore(tmp_path), Counter[str]()
    whole = [blob.path for blob in blobs.list("datasets/")]
    scandir, lstat = os.scandir, os.lstat
    monkeypatch.setattr(os, "scandir", lambda path: read.update(["folders"]) or scandir(path))
    monkeypatch.setattr(os, "lstat", lambda path: read.update(["files"]) or lstat(path))
    for begin in (0, others // 2, others - 10):
        read.clear()
        page, _ = blobs.list_page("datasets/", 10, whole[begin - 1] if begin else None)
        assert [blob.path for blob in page] == whole[begin : begin + 10]
        assert read == {"files": 10}
    (folder / "00000.a").touch()
    assert blobs.list_page("datasets/", 1)[0][0].path == "datasets/shop/00000.a"


def test_pages_are_the_list_whatever_lies_where_and_whatever_the_cursor(tmp_path: Path) -> None:
    names = ["a/b", "a/b-c/d", "a/b.c", "a/b/c", "a/b0", "a/c/d/e", "a0/b", "b/a", "b/b/b", "ab/c", "a/", "ä/ö", "a/b/"]
    chance = random.Random(3)
    for _ in range(50):
        blobs = FileBlobStore(tmp_path / str(chance.random()))
        for name in chance.sample(names, 8):
            with suppress(InvalidInput):
                blobs.write(f"{name}/x" if name.endswith("/") else name, [b""])
        for prefix in ("", "a", "a/", "a/b", "a/b/", "b/"):
            whole = [blob.path for blob in blobs.list(prefix)]
            assert whole == sorted(path for path in whole if path.startswith(prefix))
            for cursor in [*names, "", "zz"]:
                page, _ = blobs.list_page(prefix, 100, cursor)
                assert [blob.path for blob in page] == [path for path in whole if path > cursor]


def test_a_folder_that_changes_again_within_a_tick_is_read_again(tmp_path: Path) -> None:
    """As where a file system's clock stands still: the folder's time does not change."""
    blobs, folder = FileBlobStore(tmp_path), tmp_path / "datasets"
    folder.mkdir()
    now = time.time()
    for name in ("a", "b", "c"):
        (folder / name).touch()
        os.utime(folder, (now, now))
        assert [blob.path for blob in blobs.list("datasets/")][-1] == f"datasets/{name}"
