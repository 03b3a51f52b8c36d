"""Which channels are told of an event."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.domain.errors import FailureClass, PermanentFailure, Problem, Transient
from shared.domain.events import TrainingStarted, ValidationFailed
from shared.domain.planning.plan import resolve
from shared.domain.policy import PlatformPolicy
from shared.domain.recipe import DEFAULT_NOTIFY_EVENTS, MAX_CHANNELS, Recipe
from shared.domain.results import CostEstimate
from shared.pipeline import BY_NAME
from shared.ports import Channel, Message, Services
from shared.records import channels as records
from shared.records import outbox, policies, runs
from shared.runner import Handled, Runner
from shared.step_support.outcome import event_of
from shared.steps.notify import notify
from tests.clock import ManualClock
from tests.receiver import Receiver
from tests.unit.shared.steps.failed_run import failed
from tests.unit.shared.support import drop, events_at, take


@pytest.fixture
def with_channel(services: Services, receiver: Receiver) -> Services:
    """Services with one channel, at its defaults."""
    channel = Channel(receiver.url, DEFAULT_NOTIFY_EVENTS)
    return replace(services, config=replace(services.config, channels=(channel,)))


def notified(with_channel: Services, event_of: Any) -> list[Message]:
    runner = Runner(with_channel)
    run = drop(with_channel, runner)
    assert run is not None
    assert runner.handle(BY_NAME["notify"], event_of(run.id)) is Handled.APPLIED
    return [received.message for received in take(with_channel, "deliveries")]


HOOK = "https://hooks.example/shop"
HOOKS = [f"{HOOK}/{number}" for number in range(120)]


@pytest.mark.parametrize(
    ("recipe", "with_channel"),
    [
        pytest.param(f"optimiser: adam\nnotify: [{{url: '{HOOK}'}}]\n", [HOOK], id="another setting is wrong"),
        pytest.param(f"notify: [{{url: ftp://x}}, {{url: '{HOOK}'}}]\n", [HOOK], id="another channel is wrong"),
        pytest.param(f"optimiser: 1\nnotify: [{{url: '{HOOK}', events: [model.*]}}]\n", [], id="other events"),
        pytest.param(f"optimiser: 1\nnotify: {{url: '{HOOK}'}}\n", [], id="no list"),
        pytest.param(f"notify: [{{url: '{HOOK}'}}\n", [], id="no YAML"),
        pytest.param(
            json.dumps({"notify": [{"url": url} for url in HOOKS]}), HOOKS[MAX_CHANNELS - 1 :: -1], id="too many"
        ),
    ],
)
def test_a_rejected_run_is_told_to_the_valid_channels_of_its_recipe(
    services: Services, runner: Runner, recipe: str, with_channel: list[str]
) -> None:
    services.blobs.write("datasets/shop/recipe.yaml", [recipe.encode()])
    drop(services, runner)
    assert deliveries_after_validation(services, runner, "validation.failed") == with_channel


def test_a_run_that_fails_before_its_plan_is_told_to_the_channels_of_its_recipe(
    services: Services, runner: Runner
) -> None:
    recipe = f"base_model: droptune/tiny-llama\nnotify: [{{url: '{HOOK}'}}]\n"
    services.blobs.write("datasets/shop/recipe.yaml", [recipe.encode()])
    run = drop(services, runner)
    services.blobs.write("datasets/shop/train.jsonl", [b"replaced"])
    assert run is not None
    (uploaded,) = events_at(services, "validate_dataset")
    runner.handle(BY_NAME["validate_dataset"], uploaded)
    (refused,) = events_at(services, "fail_run")
    runner.handle(BY_NAME["fail_run"], refused)
    (event,) = [event for event in events_at(services, "notify") if event.short_type() == "run.failed"]
    runner.handle(BY_NAME["notify"], event)
    assert [json.loads(r.message.body)["url"] for r in take(services, "deliveries")] == [HOOK]


@pytest.mark.parametrize("setting", ["base_model: droptune/tiny-llama", "optimiser: adam"])
def test_a_host_that_the_policy_does_not_name_is_told_nothing_also_before_and_without_validation(
    services: Services, runner: Runner, setting: str
) -> None:
    hosts = PlatformPolicy.model_validate({"notify_hosts": ["hooks.example", "xn--bcher-kva.example"]})
    policies.apply(services.store, hosts, 0, "root", "root", services.clock.now())
    urls = ["https://evil.example/x", HOOK, "https://BÜCHER.example/in", "https://hooks.example.evil.example/"]
    channels = "".join(f"- {{url: '{url}', events: ['*']}}\n" for url in urls)
    services.blobs.write("datasets/shop/recipe.yaml", [f"{setting}\nnotify:\n{channels}".encode()])
    run = drop(services, runner)
    [received] = [event for event in events_at(services, "notify") if event.short_type() == "dataset.uploaded"]
    allowed = ["https://BÜCHER.example/in", HOOK]
    assert runner.handle(BY_NAME["notify"], received) is Handled.APPLIED
    assert [json.loads(one.message.body)["url"] for one in take(services, "deliveries")] == allowed
    assert run is not None
    failure = event_of(run, ValidationFailed(codes=("policy",), errors=1, report="/api"), run.updated_at)
    assert runner.handle(BY_NAME["notify"], failure) is Handled.APPLIED
    assert [json.loads(one.message.body)["url"] for one in take(services, "deliveries")] == allowed


def test_a_run_that_was_accepted_before_tells_no_host_that_the_policy_names_no_more(
    services: Services, runner: Runner
) -> None:
    run = drop(services, runner)
    assert run is not None
    recipe = Recipe.model_validate({"base_model": "droptune/tiny-llama", "notify": [{"url": HOOK, "events": ["*"]}]})
    planned = run.evolve(recipe=resolve(recipe, "shop", train_rows=100, characters_max=100))
    failure = event_of(run, ValidationFailed(codes=("policy",), errors=1, report="/api"), run.updated_at)
    assert notify(failure, planned, services) is not None
    own = PlatformPolicy.model_validate({"projects": {"shop": {"notify_hosts": []}}})
    policies.apply(services.store, own, 0, "root", "root", services.clock.now())
    assert notify(failure, planned, services) is None


def deliveries_after_validation(services: Services, runner: Runner, fact: str) -> list[str]:
    """URLs that are told the fact which the validation of the only run publishes."""
    (uploaded,) = events_at(services, "validate_dataset")
    assert runner.handle(BY_NAME["validate_dataset"], uploaded) is Handled.APPLIED
    (event,) = [event for event in events_at(services, "notify") if event.short_type() == fact]
    runner.handle(BY_NAME["notify"], event)
    return [json.loads(received.message.body)["url"] for received in take(services, "deliveries")]


def test_a_channel_that_said_410_gets_nothing_and_the_others_do(with_channel: Services, receiver: Receiver) -> None:
    config = with_channel.config
    both = replace(with_channel, config=replace(config, channels=(*config.channels, Channel(HOOK, ("*",)))))
    gone = Problem(code="webhook_gone", message="answered 410")
    records.refuse(both.store, receiver.url, gone, both.clock.now())
    assert [json.loads(message.body)["url"] for message in notified(both, failed)] == [HOOK]


def test_a_channel_of_the_platforms_goes_by_its_name(services: Services, runner: Runner) -> None:
    recipe = "optimiser: adam\nnotify: [{channel: ops}]\n"
    services.blobs.write("datasets/shop/recipe.yaml", [recipe.encode()])
    drop(services, runner)
    assert deliveries_after_validation(services, runner, "validation.failed") == ["channel:ops"]


def test_a_repeated_event_makes_no_second_delivery(with_channel: Services) -> None:
    notified(with_channel, failed)
    runner = Runner(with_channel)
    [run] = runs.unfinished(with_channel.store)
    assert runner.handle(BY_NAME["notify"], failed(run.id)) is Handled.REPEATED
    assert take(with_channel, "deliveries") == []


def test_by_default_a_channel_is_not_told_that_training_started(with_channel: Services) -> None:
    runner = Runner(with_channel)
    run = drop(with_channel, runner)
    assert run is not None
    estimate = CostEstimate(low_usd=1, high_usd=2, hourly_usd=1, low_hours=1, high_hours=2)
    event = event_of(run, TrainingStarted(job="j", estimate=estimate), run.updated_at)
    assert runner.handle(BY_NAME["notify"], event) is Handled.IGNORED
    assert take(with_channel, "deliveries") == []


def test_the_platforms_channels_are_told_though_the_recipe_cannot_be_read(
    with_channel: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_channel.blobs.write("datasets/shop/recipe.yaml", [b"base_model: droptune/tiny-llama\n"])
    runner = Runner(with_channel)
    run = drop(with_channel, runner)
    assert run is not None

    def refuse(path: str, **options: Any) -> Any:
        raise PermanentFailure(FailureClass.PLATFORM, "blob_refused", f"blob {path}: 403")

    monkeypatch.setattr(with_channel.blobs, "read", refuse)
    assert runner.handle(BY_NAME["notify"], failed(run.id)) is Handled.APPLIED
    assert len(take(with_channel, "deliveries")) == 1


OPS = Channel("channel:ops", ("run.*", "validation.failed"))


def with_recipe(services: Services, *channels: dict[str, Any]) -> tuple[Services, Runner, str]:
    """The platform has the channel OPS, and a run the recipe's."""
    services = replace(services, config=replace(services.config, channels=(OPS,)))
    recipe = json.dumps({"base_model": "droptune/tiny-llama", "notify": channels})
    services.blobs.write("datasets/shop/recipe.yaml", [recipe.encode()])
    runner = Runner(services)
    run = drop(services, runner)
    assert run is not None
    return services, runner, run.id


def sent_to(services: Services) -> list[str]:
    return [json.loads(received.message.body)["url"] for received in take(services, "deliveries")]


def test_what_the_recipes_channels_are_too_many_for_the_platforms_are_told(services: Services) -> None:
    """Twenty copies of a large event are more than the store takes in one batch."""
    services, runner, run = with_recipe(services, *({"url": url} for url in HOOKS[:MAX_CHANNELS]))
    found = runner.load(run)
    assert found is not None
    event = event_of(found, ValidationFailed(codes=("x" * 110_000,), errors=1, report="/"), services.clock.now())
    assert runner.handle(BY_NAME["notify"], event) is Handled.REFUSED
    assert sent_to(services) == ["channel:ops"]
    assert runner.handle(BY_NAME["notify"], event) is Handled.REPEATED
    assert sent_to(services) == []


def test_the_platforms_are_told_at_once_and_once_while_the_recipe_cannot_be_read(
    services: Services, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    services, runner, run = with_recipe(services, {"url": HOOK})

    def unreachable(path: str, **options: Any) -> Any:
        raise Transient("blob_unreachable", path)

    with monkeypatch.context() as outage:
        outage.setattr(services.blobs, "read", unreachable)
        assert runner.handle(BY_NAME["notify"], failed(run)) is Handled.RETRIED
        assert sent_to(services) == ["channel:ops"]
    assert runner.handle(BY_NAME["notify"], failed(run), retry=1) is Handled.APPLIED
    assert sent_to(services) == [HOOK]


@pytest.mark.parametrize(
    ("own", "urls"),
    [
        ({"channel": "ops", "events": ["model.*"]}, ["channel:ops"]),
        ({"channel": "ops", "events": ["*"]}, ["channel:ops"]),
        ({"url": HOOK, "events": ["*"]}, ["channel:ops", HOOK]),
    ],
)
def test_a_recipe_takes_nothing_from_a_channel_of_the_platform(
    services: Services, own: dict[str, Any], urls: list[str]
) -> None:
    services, runner, run = with_recipe(services, own)
    assert runner.handle(BY_NAME["notify"], failed(run)) is Handled.APPLIED
    assert sent_to(services) == urls


def test_an_event_that_was_told_before_there_were_two_batches_is_not_told_again(services: Services) -> None:
    services, runner, run = with_recipe(services)
    services.store.batch(run, [outbox.mark_handled(outbox.inbox_mark("notify", failed(run).id))])
    assert runner.handle(BY_NAME["notify"], failed(run)) is Handled.REPEATED
    assert sent_to(services) == []
