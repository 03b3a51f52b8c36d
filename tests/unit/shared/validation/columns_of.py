"""Parquet files, where pyarrow is installed."""

from __future__ import annotations

import io
from typing import Any

import pytest

pa: Any = pytest.importorskip("pyarrow", reason="the validation job reads Parquet and Arrow with it")
pq: Any = pytest.importorskip("pyarrow.parquet", reason="the validation job reads Parquet and Arrow with it")

PAIRS = [{"prompt": f"question {n}", "completion": f"answer {n}"} for n in range(600)]


def parquet(rows: list[dict[str, Any]]) -> bytes:
    packed = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), packed, row_group_size=100)
    return packed.getvalue()
