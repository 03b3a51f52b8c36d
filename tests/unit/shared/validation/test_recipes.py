from __future__ import annotations

import json
import time

import pytest
import yaml

from shared.domain.drop_zone import MAX_RECIPE_BYTES
from shared.domain.findings import Findings
from shared.validation.recipes import RecipeLoader, read_recipe
from shared.validation.validator import ALL_CODES

BAD_RECIPES = {
    "not YAML": (b"a: [", ["recipe_yaml"]),
    "a list": (b"- a", ["recipe_yaml"]),
    "not UTF-8": (b"use_case: caf\xe9", ["recipe_yaml"]),
    "a number as key": (b"1: a", ["recipe_yaml"]),
    "a key twice": (b"budget: {max_usd: 1, max_usd: 2}", ["recipe_value"]),
    "an alias": (b"notify: &a []\ndata: *a", ["recipe_yaml"]),
    "a lone surrogate": (b'use_case: "\\ud800"', ["recipe_yaml"]),
    "a lone surrogate in a list": (b'evaluation: {slices: ["\\udfff"]}', ["recipe_yaml"]),
    "a lone surrogate in a key": (b'"\\ud800": 1', ["recipe_yaml"]),
    "a lone surrogate in a key inside": (b'data: {"\\ud800": 1}', ["recipe_yaml"]),
    "a lone surrogate in a key twice": (b'{"\\ud800": 1, "\\ud800": 2}', ["recipe_yaml"]),
    "an unknown kind of personal data": (b"data: {personal_data_allowed: [ip]}", ["recipe_value"]),
    "an object": (b"use_case: !!python/object:os.system x", ["recipe_yaml"]),
    "an unknown key": (b"color: red", ["recipe_unknown_key"]),
    "an unknown key inside": (b"budget: {max_eur: 5}", ["recipe_unknown_key"]),
    "an unknown base model": (b"base_model: acme/gpt", ["unknown_base_model"]),
    "a research license": (b"base_model: mistralai/Ministral-8B-Instruct-2410", ["license_denied"]),
    "no use case": (b"base_model: meta-llama/Llama-3.1-8B-Instruct", ["license_needs_use_case"]),
    "no intended uses": (b"{base_model: meta-llama/Llama-3.1-8B-Instruct, use_case: a}", ["license_needs_use_case"]),
    "a use that the license bars": (
        b"{base_model: meta-llama/Llama-3.1-8B-Instruct, use_case: a, intended_uses: [commercial, military]}",
        ["license_bars_use"],
    ),
    "a use that no license knows": (b"intended_uses: [gardening]", ["recipe_value"]),
    "an unknown machine": (b"deployment: {instance_type: Standard_X}", ["unknown_instance_type"]),
    "a length beyond the context": (
        b"method: {hyperparameters: {max_length_tokens: 8000}}",
        ["exceeds_context"],
    ),
    "a budget that cannot do": (
        b"{base_model: microsoft/Phi-4, budget: {max_usd: 0.01}}",
        ["over_budget"],
    ),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("recipe", "codes"), BAD_RECIPES.values(), ids=BAD_RECIPES.keys())
def test_a_recipe_problem_has_its_own_code(check, rows, recipe, codes) -> None:
    checked = check(rows(60), rows(20, start=100), recipe)
    assert list(checked.codes) == codes
    assert {problem.file for problem in checked.result.report.problems} == {"recipe"}


@pytest.mark.parametrize(
    ("recipe", "path"),
    [
        (b'use_case: "\\ud800"', "use_case"),
        (b'notify: [{subscription: a, events: ["\\ud800"]}]', "notify[0].events[0]"),
        (b'data: {"a\\ud800": 1}', "data.a\\ud800"),
        (b'"a\\ud800": {b: 1}', "a\\ud800"),
    ],
)
def test_a_lone_surrogate_is_a_problem_of_its_setting(check, rows, recipe, path) -> None:
    report = check(rows(60), None, recipe).result.report
    (problem,) = report.problems
    assert f"{path}: it has a lone surrogate" in problem.message
    report.model_dump_json().encode()  # can be stored


@pytest.mark.parametrize("number", [20, 21, 120])
def test_a_recipe_names_at_most_20_subscriptions(check, rows, number: int) -> None:
    recipe = json.dumps({"notify": [{"subscription": f"a{n}"} for n in range(number)]}).encode()
    problems = check(rows(60), rows(20, start=100), recipe).result.report.problems
    assert [(p.code, p.message.split(":")[0]) for p in problems] == (
        [("recipe_value", "notify")] if number > 20 else []
    )


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("validaton.failed", "; did you mean validation.failed or evaluation.failed or validation.passed?"),
        ("Run.failed", "; did you mean run.failed or job.failed or evaluation.failed?"),
        ("models.*", "; docs/reference/events.md lists them"),
        ("", "; docs/reference/events.md lists them"),
    ],
)
def test_an_event_that_does_not_exist_is_a_problem_of_the_recipe(check, rows, pattern: str, hint: str) -> None:
    events = ["model.*", pattern, "*"]
    recipe = json.dumps({"notify": [{"subscription": "ops", "events": events}]}).encode()
    [problem] = check(rows(60), rows(20, start=100), recipe).result.report.problems
    assert (problem.code, problem.file) == ("recipe_value", "recipe")
    assert problem.message == f"notify[0].events: no event is named {pattern}{hint}."


def test_all_problems_of_a_recipe_and_its_data_come_in_one_report(check, rows) -> None:
    recipe = b"""
base_model: acme/gpt
color: red
method: {type: dpo, hyperparameters: {n_epochs: 99, lora_rank: many}}
deployment: {rollout: [50]}
"""
    checked = check(rows(60, b"x"), None, recipe)
    messages = [(p.code, p.message) for p in checked.result.report.problems]
    assert messages == [
        ("recipe_unknown_key", "The recipe has no setting color."),
        (
            "recipe_value",
            "method.hyperparameters.n_epochs: Input should be less than or equal to 25, or Input should be 'auto'.",
        ),
        (
            "recipe_value",
            "method.hyperparameters.lora_rank: Input should be a valid integer, unable to parse string as "
            "an integer, or Input should be 'auto'.",
        ),
        ("recipe_value", "deployment: rollout must rise strictly and end at 100."),
        ("unknown_base_model", checked.result.report.problems[4].message),
        ("method_data_mismatch", checked.result.report.problems[5].message),
        ("invalid_json", checked.result.report.problems[6].message),
    ]
    assert checked.result.recipe is None


@pytest.mark.parametrize(
    ("deployment", "message"),
    [
        ("{instances: 2, max_instances: 2, scale_out_above: 60}", None),
        ("{instances: 2, max_instances: 1}", "max_instances must not be below instances: raise it, or leave it out"),
        ("{scale_out_above: 60}", "scale_out_above needs max_instances, the most machines: without it nothing"),
        ("{max_instances: 2, scale_out_above: 100}", ".scale_out_above: Input should be less than 100"),
        ("{max_instances: 101}", ".max_instances: Input should be less than or equal to 100"),
    ],
)
def test_autoscale_needs_room_above_its_fewest_machines(check, rows, deployment: str, message: str | None) -> None:
    problems = check(rows(60, b"x"), None, f"deployment: {deployment}".encode()).result.report.problems
    found = [one.message for one in problems if one.code == "recipe_value"]
    assert [message in one for one in found] == ([] if message is None else [True]), found


def test_data_is_checked_by_the_settings_that_are_valid(check, rows) -> None:
    messages = [{"role": "user", "content": "Whom?"}, {"role": "assistant", "content": "ann.lee@example.org"}]
    data = rows(60, {"messages": messages})
    assert check(data, None, b"data: {personal_data: block}\ncolour: red").errors == [
        "recipe_unknown_key",
        "personal_data",
    ]
    assert check(data, None, b"data: {personal_data: allow, modus: append}").errors == ["recipe_unknown_key"]


PAIR = {"prompt": "Is it on?", "chosen": "yes", "rejected": "no"}
EMAIL = {"prompt": "Who is it? jane.doe@acme.com", "completion": "Jane"}
ONE_MISTAKE = {
    "a setting of the method in the wrong place": ("method: {type: dpo, beta: 0.1}", PAIR, "recipe_unknown_key"),
    "a misspelled method": ("method: {type: dpoo}", PAIR, "recipe_value"),
    "a method that is a list": ("method: [dpo]", PAIR, "recipe_value"),
    "an unknown section": ("data: {personal_data: allow}\ntypo: 1", EMAIL, "recipe_unknown_key"),
    "an unknown key beside": ("data: {personal_data: allow, colums: {a: user}}", EMAIL, "recipe_unknown_key"),
    "a bad value beside": ("data: {personal_data: allow, validation_split: 7}", EMAIL, "recipe_value"),
    "a bad entry of a map": ("data: {personal_data: allow, columns: {prompt: usr}}", EMAIL, "recipe_value"),
    "a bad grader": (
        "data: {personal_data: allow}\nevaluation: {graders: [{name: a, type: nope}]}",
        EMAIL,
        "recipe_value",
    ),
    "a bad subscription": ("data: {personal_data: allow}\nnotify: [{subscription: Here}]", EMAIL, "recipe_value"),
    "a bad section": ("data: {personal_data: allow}\nbudget: 5", EMAIL, "recipe_value"),
}


@pytest.mark.few_cases(3)
@pytest.mark.parametrize(("recipe", "row", "code"), ONE_MISTAKE.values(), ids=ONE_MISTAKE)
def test_one_mistake_in_the_recipe_is_one_error_and_the_rest_of_it_holds(check, recipe, row, code) -> None:
    lines = (json.dumps({**row, "prompt": f"{row['prompt']} {number}"}) for number in range(300))
    assert check("\n".join(lines).encode(), None, recipe.encode()).errors == [code]


def test_an_unknown_method_says_nothing_about_the_data(check, rows) -> None:
    pairs = "\n".join(
        json.dumps({"prompt": f"Ask {n}", "chosen": "Yes, please.", "rejected": "No, thanks."}) for n in range(60)
    ).encode()
    assert check(pairs, None, b"method: {type: orpo}").errors == ["recipe_value"]
    assert check(pairs, None, b"method: {type: supervised}").errors == ["method_data_mismatch"]
    assert check(pairs, None, b"base_model: 5\nmethod: {type: dpo}").errors == ["recipe_value"]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("{type: ppo}", "method.type: Input should be 'supervised', 'dpo' or 'reinforcement'"),
        ("{type: reinforcement}", "method.graders: Field required."),
        ("{type: dpo, hyperparameters: {beta: 0}}", "method.hyperparameters.beta: Input should be greater than 0, or"),
        (
            "{type: reinforcement, graders: [{name: right, type: string_check}]}",
            "recipe: evaluation.graders are those of method.graders",
        ),
    ],
)
def test_a_method_is_one_of_three_with_its_own_settings(check, rows, method, message) -> None:
    problem, *others = check(rows(60), rows(20, start=100), f"method: {method}".encode()).result.report.problems
    assert problem.code == "recipe_value"
    assert problem.message.startswith(message)
    is_known = "dpo" in method or "string_check" in method  # so that rows are compared with it
    assert {other.code for other in others} == ({"method_data_mismatch"} if is_known else set())


def test_the_line_of_a_yaml_error_is_named(check, rows) -> None:
    (problem,) = check(
        rows(60), rows(20, start=100), b"data:\n  validation_split: 0.1\n validation_split: 1"
    ).result.report.problems
    assert problem.message.startswith("recipe.yaml cannot be read: line 3: ")


def test_no_recipe_means_the_defaults(check, rows) -> None:
    for text in (None, b"", b"# nothing\n"):
        recipe = check(rows(300), None, text).result.recipe
        assert recipe is not None
        assert recipe.base_model == "droptune/tiny-llama"


class CountedKey(str):
    """A key that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        CountedKey.compared += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


@pytest.mark.parametrize("count", [100, 2000])
def test_keys_of_a_recipe_are_compared_with_those_that_may_be_equal_only(count: int) -> None:
    def scalar(value: str) -> yaml.ScalarNode:
        return yaml.ScalarNode("tag:yaml.org,2002:str", value)

    pairs = [(scalar(CountedKey(f"key_{number}")), scalar("x")) for number in range(count)]
    CountedKey.compared = 0
    made = RecipeLoader("").construct_mapping(yaml.MappingNode("tag:yaml.org,2002:map", pairs))
    assert len(made) == count
    assert CountedKey.compared <= count


@pytest.mark.parametrize("evaluation", ["", "evaluation: {graders: [{name: e, type: string_check}], slices: [hall]}"])
def test_graders_that_are_those_of_the_method_are_one_finding_and_the_data_is_read_by_the_method(
    check, evaluation
) -> None:
    recipe = f"method: {{type: reinforcement, graders: [{{name: e, type: string_check}}]}}\n{evaluation}"
    data = b"\n".join(
        b'{"prompt": [{"role": "user", "content": "q %d"}], "answer": "a %d", "hall": "h"}' % (n, n) for n in range(60)
    )
    checked = check(data, None, recipe.encode())
    assert checked.errors == ["recipe_value"]
    assert checked.result.report.format == "reinforcement"


def schema_of(text: str) -> str:
    return f"evaluation: {{graders: [{{name: a, type: json_schema, json_schema: {text}}}]}}"


def formula_of(text: str) -> str:
    parts = "{a: {type: string_check}}"
    return f"evaluation: {{graders: [{{name: m, type: multi, graders: {parts}, calculate_output: '{text}'}}]}}"


def many(form: str, count: int) -> str:
    return ", ".join(form.format(number) for number in range(count))


# A recipe, and how its finding begins; "" where the recipe is a valid one, whatever it may look like.
BOMBS = {
    "infinite budget": ("budget: {max_usd: .inf}", "budget.max_usd: Input should be a finite"),
    "budget beyond a float": ("budget: {max_usd: 1e999999}", "budget.max_usd: Input should be a finite"),
    "budget of many digits": (f"budget: {{max_usd: {'9' * 400}}}", "budget.max_usd: Input should be"),
    "budget of more digits": (f"budget: {{max_usd: {'9' * 6000}}}", "it is not valid YAML"),
    "no hours": ("budget: {deadline_hours: .nan}", "budget.deadline_hours: Input should be a finite"),
    "no wait": ("deployment: {keep_previous_hours: .nan}", "deployment.keep_previous_hours: Input should be a finite"),
    "no learning rate": ("method: {hyperparameters: {learning_rate: .nan}}", "method.hyperparameters.learning_rate"),
    "infinite weight": (
        "evaluation: {graders: [{name: a, type: string_check, weight: .inf}]}",
        "evaluation.graders[0].weight: Input should be a finite",
    ),
    "no weight": (
        "evaluation: {graders: [{name: a, type: string_check, weight: .nan}]}",
        "evaluation.graders[0].weight: Input should be a finite",
    ),
    "infinite floor": (
        "evaluation: {gate: {floors: {exact: .inf}}}",
        "evaluation.gate.floors.exact: Input should be a finite",
    ),
    "infinite level": (
        "evaluation: {graders: [{name: a, type: reading_level, max_grade: -.inf}]}",
        "evaluation.graders[0].max_grade: Input should be a finite",
    ),
    "infinite threshold": (
        "evaluation: {graders: [{name: a, type: score_model, endpoint: judge, pass_threshold: .nan, "
        "input: [{role: user, content: x}]}]}",
        "evaluation.graders[0].pass_threshold: Input should be a finite",
    ),
    "schema with infinity": (
        schema_of("{const: .inf}"),
        "evaluation.graders[0].json_schema.const: Input should be a finite",
    ),
    "schema without a number": (schema_of("{minimum: .nan}"), "evaluation.graders[0].json_schema.minimum: Input"),
    "schema with a date": (schema_of("{const: 2020-01-01}"), "evaluation.graders[0].json_schema.const: input was"),
    "schema with a set": (schema_of("{const: !!set {a, b}}"), "evaluation.graders[0].json_schema.const: input was"),
    "schema with bytes": (schema_of("{const: !!binary aGFsbG8=}"), "evaluation.graders[0].json_schema.const: input"),
    "schema with a number as key": (schema_of("{const: {1: 2}}"), "evaluation.graders[0].json_schema.const"),
    **{
        f"schema of {levels} levels of {key}": (
            schema_of(f"{{{key}: " * levels + "{}" + "}" * levels),
            "evaluation.graders[0].json_schema" if levels < 320 else "it is not valid YAML",
        )
        for key in ("not", "if", "items", "additionalProperties", "propertyNames", "contains")
        for levels in (160, 200, 250, 400, 2000)
    },
    "value of 200 levels": (schema_of("{const: " + "[" * 200 + "]" * 200 + "}"), "evaluation.graders[0].json_schema"),
    "value of 5000 levels": (schema_of("{const: " + "[" * 5000 + "]" * 5000 + "}"), "it is not valid YAML"),
    "pattern repeated": (schema_of("{if: {pattern: 'a{99999999999}'}}"), ""),
    "pattern repeated in itself": (schema_of("{pattern: '(a{1,100}){1,100}'}"), "evaluation.graders[0].json_schema"),
    "pattern nested": (schema_of(f"{{if: {{pattern: '{'(' * 2000}{')' * 2000}'}}}}"), ""),
    "pattern that looks back": (schema_of("{pattern: '(?<=a)b'}"), "evaluation.graders[0].json_schema"),
    "schema from the web": (schema_of("{$ref: 'http://169.254.169.254/x'}"), "evaluation.graders[0].json_schema: $ref"),
    "schema from a file": (schema_of("{$ref: 'file:///etc/passwd'}"), "evaluation.graders[0].json_schema: $ref"),
    "schema from no URL": (schema_of("{$ref: 'http://[::1'}"), "evaluation.graders[0].json_schema: $ref"),
    "schema of no pointer": (schema_of("{allOf: [{}], $ref: '#/allOf/x'}"), "evaluation.graders[0].json_schema"),
    "wide schema": (
        schema_of(f"{{allOf: [{many('{{if: {{}}}}', 2500)}]}}"),
        "evaluation.graders[0].json_schema: of its",
    ),
    "wide properties": (
        schema_of(f"{{if: {{properties: {{{many('a{}: {{}}', 5000)}}}}}}}"),
        "evaluation.graders[0].json",
    ),
    "formula of brackets": (formula_of("(" * 400 + "a" + ")" * 400), "evaluation.graders[0].calculate_output: not a"),
    "formula of signs": (
        formula_of("-" * 990 + "a"),
        "evaluation.graders[0].calculate_output: it is nested too deeply",
    ),
    "formula of powers": (formula_of("a*9^9^9^9^9"), "evaluation.graders[0].calculate_output: calculate_output fails"),
    "formula of digits": (
        formula_of("a*" + "9" * 900),
        "evaluation.graders[0].calculate_output: calculate_output fails",
    ),
    "formula that calls": (formula_of('a + __import__("os")'), "evaluation.graders[0].calculate_output"),
    "deep source": (
        f"evaluation: {{graders: [{{name: a, type: python, source: 'def grade(a, b): return {'(' * 3000}'}}]}}",
        "evaluation.graders[0].source: not Python",
    ),
    "long source": (
        f"evaluation: {{graders: [{{name: a, type: python, source: 'def grade(a, b): return {'-' * 30_000}1'}}]}}",
        "evaluation.graders[0].source: not Python",
    ),
    **{
        f"{setting} of many hexadecimal digits": (text.replace("N", f"0x{'f' * 4000}"), begins)
        for setting, text, begins in (
            ("method", "method: {type: N}", "method.type: Input should be 'supervised'"),
            ("rows", "evaluation: {gate: {min_rows: N}}", "evaluation.gate.min_rows: Input should be a finite number"),
            ("schema", schema_of("{const: N}"), "evaluation.graders[0].json_schema.const: Input should be a finite"),
        )
    },
    "many channels": (
        f"notify: [{many('{{subscription: a{}}}', 1200)}]",
        "notify: List should have at most 20",
    ),
    "many events": (
        f"notify: [{{subscription: a, events: [{many('run.{}', 5000)}]}}]",
        "notify[0].events: List should have",
    ),
    "pattern of events": (
        f"notify: [{{subscription: a, events: ['{'*a' * 2000}']}}]",
        "notify[0].events: no event is named",
    ),
    "many keys": (f"x: {{{many('a{}: 1', 6000)}}}", "x"),
    "many lists": ("x: " + "[" * 5000 + "]" * 5000, "it is not valid YAML"),
    "many aliases": ("x: &a [1]\ny: [*a, *a]", "aliases are not allowed"),
    "an address in place of a name": ("notify: [{subscription: 'https://pub.example/'}]", "notify[0].subscription"),
}


def test_a_report_has_the_first_100_settings_that_are_wrong_and_how_many_more() -> None:
    for text in ("\n".join(f"k{n}: 1" for n in range(1103)), f"notify: [{many('{{}}', 1103)}]"):
        findings = Findings(ALL_CODES)
        read_recipe(text.encode(), "droptune/tiny-llama", findings)
        found = [detail for code in findings.codes for _, detail, _ in findings.counts(code)]
        assert (len(found), "1,003 more settings are wrong: correct these first" in found) == (101, True)
    twice = Findings(ALL_CODES)
    read_recipe(b"use_case: a\n" * 200, "droptune/tiny-llama", twice)
    assert len(twice.problems()) == 100


def test_there_are_75_bombs() -> None:
    assert len(BOMBS) >= 75


@pytest.mark.few_cases(6)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_a_finding_of_its_setting_and_soon(name: str) -> None:
    text, begins = BOMBS[name]
    assert len(text) <= MAX_RECIPE_BYTES
    findings, started = Findings(ALL_CODES), time.monotonic()
    read = read_recipe(text.encode(), "droptune/tiny-llama", findings)
    assert time.monotonic() - started < 60
    found = [detail for code in findings.codes for _, detail, _ in findings.counts(code)]
    assert (read.recipe is not None) == (not begins)
    assert any(detail.startswith(begins) for detail in found) if begins else found == []
