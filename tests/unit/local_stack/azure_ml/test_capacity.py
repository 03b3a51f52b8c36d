"""Machine sizes and core quotas of the emulator."""

from __future__ import annotations

from pathlib import Path

from local_stack.azure_ml.capacity import sizes, usages
from local_stack.azure_ml.config import EmulatorConfig, Machine

MACHINES = {
    "small": Machine("one", 4, used=3, limit=10),
    "large": Machine("one", 16, gpus=2, memory_gb=64.0, used=3, limit=10),
    "other": Machine("two", 8, used=1, limit=20),
}
TOTALS = {"dedicatedCores": "Total Cluster Dedicated Regional vCPUs", "lowPriorityCores": "TotalLowPriorityCores"}


def test_sizes_are_those_of_the_table(tmp_path: Path) -> None:
    listed = sizes(EmulatorConfig(tmp_path, tmp_path, 0, machines=MACHINES))["value"]
    found = [(each["name"], each["family"], each["vCPUs"], each["gpus"], each["memoryGB"]) for each in listed]
    assert found == [("small", "one", 4, 0, 8.0), ("large", "one", 16, 2, 64.0), ("other", "two", 8, 0, 8.0)]


def test_cores_of_a_family_are_counted_once_however_many_sizes_it_has(tmp_path: Path) -> None:
    listed = usages(EmulatorConfig(tmp_path, tmp_path, 0, machines=MACHINES))["value"]
    found = {(each["type"].split("/", 1)[1], each["name"]["value"]): each for each in listed}
    for kind, total in TOTALS.items():
        of_all, of_one = found[f"{kind}/usages", total], found[f"vmFamily/{kind}/usages", "one"]
        assert (of_all["currentValue"], of_all["limit"]) == (4, 30)
        assert (of_one["currentValue"], of_one["limit"]) == (3, 10)
    assert len(listed) == 7
