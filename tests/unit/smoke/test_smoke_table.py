"""What `smoke.toml` says agrees with the catalog, the settings, the recipe, and with itself."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from shared.domain.catalog import CATALOG, SKUS, find_sku
from shared.domain.dataset import Statistics
from shared.domain.errors import PermanentFailure
from shared.domain.planning.plan import can_train
from shared.domain.recipe import Recipe
from shared.settings import Settings
from shared.validation.plan import plan_run
from tests.paths import ROOT
from tests.smoke.__main__ import STEPS, costs
from tests.smoke.commands import TABLE

TINY: dict[str, Any] = yaml.safe_load((ROOT / TABLE["emulators"]["recipe"]).read_text())
REAL: dict[str, Any] = yaml.safe_load((ROOT / TABLE["azure"]["recipe"]).read_text())
DATA = Statistics(train_rows=1200, eval_rows=120, characters_mean=140, characters_max=140, messages_mean=5)
COMMANDS = [command for step in TABLE["step"] for command in step.get("command", ())]
PARTS = ("GPU jobs", "endpoint", "all else")
KEYS = {"name", "on", "run", "pattern", "twice_the_cores", "retry", "retry_codes", "shown", "secret", "each"}
KEYS |= {"none", "otherwise", "unknown", "remedy", "masked"}


def test_the_machine_is_the_cheapest_that_tunes_and_serves_a_base_of_the_registries_and_the_base_the_smallest() -> None:
    found = []
    for entry in CATALOG.values():
        if entry.terms.policy != "allow" or not (entry.asset or "").startswith("azureml://registries/"):
            continue
        budget = {"budget": {"tier": "dedicated"}, "deployment": {}}
        try:
            recipe = Recipe.model_validate({**REAL, **budget, "base_model": entry.id})
            resolved, _ = plan_run(recipe, "smoke", DATA, None)
        except PermanentFailure:
            continue
        assert resolved.hyperparameters.quantization == "nf4"
        if resolved.training_instance_type == resolved.serving_instance_type:
            price = find_sku(resolved.training_instance_type).usd_per_hour
            found.append((price, entry.parameters, resolved.training_instance_type, entry.id))
    assert min(found)[2:] == (TABLE["values"]["size"], TABLE["azure"]["base"])
    base, price = CATALOG[TABLE["azure"]["base"]], find_sku(TABLE["values"]["size"]).usd_per_hour
    # Why no cheaper one: the T4 has no bfloat16.
    cheaper = [sku for sku in SKUS if sku.gpus and sku.usd_per_hour < price]
    assert {(sku.gpu, can_train(base, sku)) for sku in cheaper} == {("T4", False)}


def test_what_is_written_down_of_the_base_the_image_and_the_price_is_what_the_product_uses() -> None:
    values = TABLE["values"]
    asset = f"azureml://registries/{values['registry']}/models/{values['model']}/versions/{values['version']}"
    assert CATALOG[TABLE["azure"]["base"]].asset == asset
    assert values["environment"] == Settings.model_fields["training_environment"].default
    parameters = json.loads((ROOT / "infra" / "main.parameters.json").read_text())["parameters"]
    assert parameters["storageSku"]["value"] == f"${{STORAGE_SKU={values['storage']}}}"
    assert float(TABLE["emulators"]["price"]) == find_sku(values["size"]).usd_per_hour


def test_the_recipe_for_azure_is_that_of_the_demo_but_for_base_hyperparameters_and_machines() -> None:
    size = TABLE["values"]["size"]
    machines = {"budget": {"tier": "dedicated", "instance_type": size}, "deployment": {"instance_type": size}}
    expected = {**TINY, "base_model": TABLE["azure"]["base"], "method": {"type": "supervised"}, **machines}
    assert expected == REAL


@pytest.mark.parametrize("platform", ["azure", "emulators"])
def test_every_command_line_is_known_in_full_when_it_is_run(platform: str) -> None:
    """In the order of the steps, with what is asked before each of them."""
    known = {
        "env",
        "folder",
        "python",
        *TABLE["values"],
        *TABLE[platform],
        *(["location"] if platform == "azure" else []),
    }
    from_deployment = {name for one in TABLE["known"] for name in re.findall(r"\(\?P<(\w+)>", one["pattern"])}
    for step in TABLE["step"]:
        if step["name"] == "base model" and platform == "azure":
            known |= from_deployment
        for command in step.get("command", ()):
            if command.get("on", platform) != platform:
                continue
            words = [*command["run"], *command.get("each", ()), command.get("pattern", ""), command.get("remedy", "")]
            assert set(re.findall(r"(?<!\{)\{([a-z_]+)\}", " ".join(words))) <= known, (step["name"], command["name"])
            known |= set(re.findall(r"\(\?P<(\w+)>", command.get("pattern", "")))


def test_commands_have_known_keys_and_in_a_step_names_of_their_own() -> None:
    assert {key for command in (*COMMANDS, *TABLE["known"], *TABLE["failed"]) for key in command} <= KEYS
    for step in TABLE["step"]:
        names = [command["name"] for command in step.get("command", ())]
        assert len(names) == len(set(names)), step["name"]


def test_a_pattern_has_no_braces_but_those_of_names() -> None:
    """`{12}` of a regular expression would be taken for a word of a line."""
    patterns = [command.get("pattern", "") for command in (*COMMANDS, *TABLE["known"], *TABLE["failed"])]
    assert [pattern for pattern in patterns if re.search(r"\{(?![a-z_]+\})", pattern)] == []


def test_whatever_the_removal_tries_may_fail_and_what_it_looks_for_may_not() -> None:
    removal = STEPS["removal"]["command"]
    assert {one["otherwise"] for one in removal if "none" not in one} == {"not done"}
    assert {one.get("otherwise", "failed") for one in removal if "none" in one} == {"failed", "kept"}
    assert [one["name"] for one in removal if one.get("otherwise") == "kept"] == [
        "no deleted logs",
        "no deleted key vault",
    ]


def test_no_role_is_looked_for_without_the_end_of_the_deployments_names() -> None:
    """`contains(roleName, '')` is true of every role of the subscription."""
    for command in COMMANDS:
        words = " ".join([*command["run"], *command.get("each", ())])
        if "role definition list" in words or "role definition delete" in words:
            assert re.search(r"contains\(roleName, '[a-z(-]*\{token\}", words)
    token = next(one["pattern"] for one in TABLE["known"] if one["name"] == "token")
    assert re.search(token, "id-job-") is None


def test_the_cost_is_the_minutes_of_the_steps_times_the_prices() -> None:
    found = costs(6.0)
    minutes = {kind: [0.0, 0.0] for kind in ("job", "endpoint", "other")}
    for step in TABLE["step"]:
        for kind, (expected, most) in step["minutes"].items():
            minutes[kind][0] += expected
            minutes[kind][1] += most
    whole = [sum(both[end] for both in minutes.values()) / 60 * TABLE["other_usd_per_hour"] for end in (0, 1)]
    assert found["GPU jobs"] == [minute / 10 for minute in minutes["job"]]
    assert found["endpoint"] == [minute / 10 for minute in minutes["endpoint"]]
    assert found["all else"] == [round(usd, 2) for usd in whole]
    assert found["all"] == [round(sum(found[part][end] for part in PARTS), 2) for end in (0, 1)]
