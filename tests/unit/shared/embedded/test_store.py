"""What only the embedded store promises: its file, and sudden death."""

from __future__ import annotations

from pathlib import Path

from tests.unit.shared.embedded.support import accepted_before_kill, open_store


def test_batches_accepted_before_kill_9_are_stored_whole(tmp_path: Path) -> None:
    accepted = accepted_before_kill(
        tmp_path,
        """
store, n = store(), 0
while True:
    names = [f"{n:06}-{part}" for part in range(3)]
    store.batch("run", [Write("create", name, {"type": "history"}) for name in names])
    print(n, flush=True)
    n += 1
""",
    )
    store = open_store(tmp_path)
    count = len(store.list_partition("run", "history"))
    # At most the batch in flight was stored without being reported, and none in part.
    assert count in (3 * len(accepted), 3 * len(accepted) + 3)
    store.close()
