"""What a project may spend in a month."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from datetime import timedelta
from itertools import product

import pytest

from shared.domain.errors import FailureClass, LaterVersion, PermanentFailure, Transient
from shared.domain.events import BudgetWarning
from shared.domain.policy import PlatformPolicy
from shared.domain.results import CostEstimate
from shared.domain.run import Run
from shared.ports import Services, Write
from shared.records.budget import BUDGET, accounts, reserve, settle
from shared.records.policies import apply
from shared.records.unreadable import unreadable
from shared.runner import Runner
from tests.unit.shared.support import drop


def run_costing(services: Services, runner: Runner, number: int, high_usd: float) -> Run:
    created = drop(services, runner, f"datasets/shop/{number}.jsonl", b"%d\n" % number)
    assert created is not None
    cost = CostEstimate(low_usd=0, high_usd=high_usd, hourly_usd=1, low_hours=0, high_hours=1)
    return created.evolve(cost=cost)


def test_what_does_not_fit_any_more_is_refused_with_the_numbers(services: Services, runner: Runner) -> None:
    first, second = (run_costing(services, runner, n, 60) for n in (1, 2))
    reserve(services.store, first, {"shop": 100}, 80)
    reserve(services.store, first, {"shop": 100}, 80)  # a redelivery
    with pytest.raises(PermanentFailure, match=r"60\.00 of 100\.00 USD are taken") as refused:
        reserve(services.store, second, {"shop": 100}, 80)
    assert refused.value.failure_class is FailureClass.BUDGET
    assert refused.value.problem.code == "monthly_budget"


def test_a_finished_run_leaves_what_it_spent_and_gives_the_rest_back(services: Services, runner: Runner) -> None:
    first, second = (run_costing(services, runner, n, 60) for n in (1, 2))
    reserve(services.store, first, {"shop": 100}, 80)
    assert first.cost is not None
    settle(services.store, first.evolve(cost=first.cost.model_copy(update={"actual_usd": 40.0})))
    reserve(services.store, second, {"shop": 100}, 80)
    with pytest.raises(PermanentFailure):
        reserve(services.store, run_costing(services, runner, 3, 1), {"shop": 100}, 80)


LETTERS = {"projects": ("shop", "mail"), "monthly_usd": 150}
SHARED = PlatformPolicy.model_validate(
    {"monthly_usd": 200, "teams": {"letters": LETTERS, "others": {"projects": ["mail"], "monthly_usd": 1}}}
)


@pytest.mark.parametrize(
    ("spent", "refused"),
    [
        ({"shop": 60}, "shop: 60.00 of 100.00"),
        ({"mail": 110}, "team letters: 110.00 of 150.00"),
        ({"mail": 90, "else": 70}, "all projects: 160.00 of 200.00"),
        ({"else": 150}, None),
        ({"shop": 50, "mail": 49, "else": 51}, None),
    ],
)
def test_a_run_fits_the_budget_of_its_project_of_its_teams_and_of_all(
    services: Services, runner: Runner, spent: dict[str, float], refused: str | None
) -> None:
    apply(services.store, SHARED, 0, "ada", "ada", services.clock.now())
    run = run_costing(services, runner, 0, 50)
    assert SHARED.budgets("shop", 100) == {"shop": 100, "all projects": 200, "team letters": 150}
    others = []
    for number, (project, usd) in enumerate(spent.items(), start=1):
        others.append(run_costing(services, runner, number, usd).evolve(project=project))
        reserve(services.store, others[-1], SHARED.budgets(project, 1000) | {"team others": 1000}, 80)
    with pytest.raises(PermanentFailure) if refused else nullcontext() as raised:
        reserve(services.store, run, SHARED.budgets("shop", 100), 80)
    assert (raised.value.problem.message.partition(" USD")[0] if raised else None) == refused
    for ended in (run, *others):
        settle(services.store, ended)
    kept = {account.partition: account.document["usd"] for account in accounts(services.store, services.clock.now())}
    assert {usd for name, entries in kept.items() if "team others" not in name for usd in entries.values()} == {0}, (
        "also what a refused one had reserved in the budgets before"
    )


def test_the_run_that_goes_beyond_the_warned_part_of_a_budget_says_so_also_when_it_is_repeated(
    services: Services, runner: Runner
) -> None:
    limits = {"shop": 100.0, "all projects": 170.0}
    sent = []
    for number in range(5):
        run = run_costing(services, runner, number, 20)
        for _ in range(2):
            sent.append([(one.budget, one.taken_usd) for one in reserve(services.store, run, limits, 75)])
    assert sent == [[]] * 6 + [[("shop", 80)]] * 2 + [[]] * 2
    assert reserve(services.store, run_costing(services, runner, 9, 40), {"all projects": 170}, 75) == [
        BudgetWarning(budget="all projects", taken_usd=140, limit_usd=170)
    ]


def test_without_a_limit_nothing_is_written(services: Services, runner: Runner) -> None:
    run = run_costing(services, runner, 1, 60)
    reserve(services.store, run, {}, 80)
    assert services.store.query(BUDGET)[0] == []


def test_runs_that_reserve_at_once_never_exceed_the_limit(services: Services, runner: Runner) -> None:
    runs = [run_costing(services, runner, n, 30) for n in range(6)]
    refused = []

    def try_it(run: Run) -> None:
        try:
            reserve(services.store, run, {"shop": 100}, 80)
        except PermanentFailure:
            refused.append(run.id)

    threads = [threading.Thread(target=try_it, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3


def test_an_account_of_a_later_version_is_not_written(services: Services, runner: Runner) -> None:
    first, second = (run_costing(services, runner, n, 10) for n in (1, 2))
    reserve(services.store, first, {"shop": 100}, 80)
    [stored] = services.store.query(BUDGET)[0]
    services.store.batch(stored.partition, [Write("replace", BUDGET, {**stored.document, "schema_version": 2})])
    with pytest.raises(LaterVersion, match="budget: schema version 2"):
        reserve(services.store, second, {"shop": 100}, 80)


def test_accounts_of_this_month_and_the_one_before_are_looked_at_however_many_there_are(
    services: Services, runner: Runner
) -> None:
    run, now = run_costing(services, runner, 1, 1), services.clock.now()
    months = [now.replace(day=15) - timedelta(days=30 * number) for number in range(40)]
    for project, month in product(("bank", "shop"), months):
        reserve(services.store, run.evolve(project=project, created_at=month), {project: 100}, 80)
    found = [stored.partition for stored in accounts(services.store, now.replace(day=15))]
    assert sorted(found) == [f"budget:{p}:{month:%Y-%m}" for p in ("bank", "shop") for month in reversed(months[:2])]


@pytest.mark.parametrize(
    "usd",
    [None, [], "12", {"run-1": "12"}, {"run-1": None}, {"run-1": {}}, {"run-1": True}, {"run-1": -1}],
    ids=str,
)
def test_a_run_waits_until_an_account_that_cannot_be_read_is_released(
    services: Services, runner: Runner, usd: object
) -> None:
    run = run_costing(services, runner, 1, 60)
    reserve(services.store, run, {"shop": 100}, 80)
    [stored] = services.store.query(BUDGET)[0]
    spoiled = usd | {"run-2": 30.0} if isinstance(usd, dict) else usd
    services.store.batch(stored.partition, [Write("replace", BUDGET, {**stored.document, "usd": spoiled})])
    for change in (lambda: reserve(services.store, run, {"shop": 100}, 80), lambda: settle(services.store, run)):
        with pytest.raises(Transient, match="unreadable_document"):
            change()
    assert [(found.type, found.partition) for found in unreadable(services.store, services.clock.now())] == [
        (BUDGET, stored.partition)
    ]
    runner.release_unreadable(stored.partition, BUDGET, "ada")
    kept = services.store.get(stored.partition, BUDGET)
    assert kept is not None
    assert kept.document["usd"] == ({"run-1": 0.0, "run-2": 30.0} if isinstance(usd, dict) else {})
    settle(services.store, run)
    reserve(services.store, run, {"shop": 100}, 80)
    assert list(unreadable(services.store, services.clock.now())) == []
