// What an evaluation measured: scores with intervals, gains, the gate's checks, graders, slices, general ability.

import { clock, count, h, mark, signed, svg, words } from "./dom.js";

export const MODELS = { base: "base", champion: "in production", candidate: "tuned" };

// Percentages, so that the drawing grows with its cell.
function interval({ mean, low, high }, kind, from, to, tickAt = []) {
  const x = (value) => `${(100 * (Math.min(to, Math.max(from, value)) - from)) / (to - from)}%`;
  return svg(
    "svg",
    { class: `interval ${kind}`, height: 18, width: "100%", "aria-hidden": "true" },
    svg("line", { class: "axis", x1: 0, x2: "100%", y1: 9, y2: 9 }),
    tickAt.map((value) => svg("line", { class: "zero", x1: x(value), x2: x(value), y1: 1, y2: 17 })),
    svg("line", { class: "range", x1: x(low), x2: x(high), y1: 9, y2: 9 }),
    [low, high].map((value) => svg("line", { class: "range end", x1: x(value), x2: x(value), y1: 5, y2: 13 })),
    svg("circle", { cx: x(mean), cy: 9, r: 4.5 }),
  );
}

const CHECKS = {
  min_rows: "Enough held-out rows",
  graders_worked: "Every answer could be graded",
  same_template: "One chat template",
  min_score: "Score at or above min_score",
  adapter_has_effect: "The tuning changes the answers",
  gain_over_base: "Better than the base model",
  gain_over_champion: "Better than the model in production",
  pair_agreement: "Paired rows answered alike",
  gain_over_lookup: "Better than answers taken from training rows",
  "general:ability": "General ability kept",
  "general:refusal": "Harmful requests still refused",
  "general:over_refusal": "Harmless requests still answered",
  memorized: "No training rows repeated",
};
function checkName(name) {
  if (name.startsWith("slice:")) return `No worse where ${name.slice(6).replace("=", " = ")}`;
  const [, grader, where] = name.match(/^grader:([^:]+)(?::(.*))?$/s) ?? [];
  if (grader) return `${words(grader)} at or above its floor${where ? ` where ${where.replace("=", " = ")}` : ""}`;
  return CHECKS[name] ?? words(name);
}

export function evaluation(run) {
  const result = run.evaluation;
  const gate = run.recipe?.requested.evaluation.gate;
  const shown = ["base", "champion", "candidate"].filter((key) => result[key]);
  const numbers = shown.flatMap((key) => [result[key].low, result[key].high]);
  const [from, to] = [Math.min(0, ...numbers), Math.max(1, ...numbers)];
  const which = { base: run.recipe?.requested.base_model, champion: run.champion };
  const share = (value) => (value === undefined ? "" : `${Math.round(value * 100)} %`);
  const cell = (value, digits) => (value === undefined ? "" : value.toFixed(digits));
  const scores = h(
    "table",
    { class: "scores" },
    h(
      "caption",
      {},
      `mean score of ${count(result.candidate.rows)} held-out rows, with its interval`,
      result.unscored ? `; ${count(result.unscored)} more have no score from the judge and count for no model` : "",
    ),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        ["model", "score", "interval", "", "tokens / answer", "cut", "s / answer"].map((name, i) =>
          h("th", { scope: "col", class: [1, 2, 4, 5, 6].includes(i) ? "number" : "" }, name),
        ),
      ),
    ),
    h(
      "tbody",
      {},
      shown.map((key) =>
        h(
          "tr",
          { class: key },
          h("th", { scope: "row" }, MODELS[key], which[key] && h("span", { class: "which" }, which[key])),
          h("td", { class: "number score" }, result[key].mean.toFixed(3)),
          h("td", { class: "number" }, `${result[key].low.toFixed(3)} to ${result[key].high.toFixed(3)}`),
          h("td", { class: "drawn" }, interval(result[key], key, from, to)),
          h("td", { class: "number" }, cell(result.tokens_per_answer[key], 1)),
          h("td", { class: "number" }, share(result.answers_at_limit[key])),
          h("td", { class: "number" }, cell(result.seconds_per_answer[key], 3)),
        ),
      ),
      (result.baselines ?? []).map(({ name, score }) =>
        h(
          "tr",
          { class: "baseline" },
          h("th", { scope: "row" }, words(name), h("span", { class: "which" }, "of training rows, no model")),
          h("td", { class: "number score" }, score.mean.toFixed(3)),
          h("td", { class: "number" }, `${score.low.toFixed(3)} to ${score.high.toFixed(3)}`),
          h("td", { class: "drawn" }, interval(score, "base", from, to)),
          [1, 2, 3].map(() => h("td", {})),
        ),
      ),
    ),
  );
  return [
    ...(run.verdict ? [verdictLine(run.verdict)] : []),
    ...(run.decision ? [decision(run.decision)] : []),
    scores,
    gains(result, gate),
    ...(run.verdict ? [checks(run.verdict)] : []),
    h(
      "p",
      { class: "quiet evaluation-links" },
      h("a", { class: "alone", href: `#/runs/${encodeURIComponent(run.id)}/evaluation` }, "This evaluation row by row"),
      h("a", { class: "whole", href: `#/runs/${encodeURIComponent(run.id)}` }, "The whole run"),
    ),
  ];
}

const blocks = (check) => !check.passed && !check.skipped;

function verdictLine(verdict) {
  const failed = verdict.checks.filter(blocks).length;
  return h(
    "p",
    { class: `verdict ${verdict.passed ? "good" : "bad"}` },
    verdict.passed ? mark.good() : mark.bad(),
    verdict.passed
      ? "The gate is passed: better beyond its interval."
      : `The gate is not passed: ${failed} of ${verdict.checks.length} checks failed. It is not deployed.`,
  );
}

function decision({ granted, by, at, comment }) {
  return h(
    "p",
    {},
    h("b", {}, granted ? "Approved" : "Denied"),
    " by ",
    by,
    " at ",
    clock(at),
    comment && [": ", h("span", { class: "prose" }, comment)],
  );
}

const percent = (gate) => (gate ? `${(gate.confidence * 100).toPrecision(3).replace(/\.0$/, "")} % ` : "");

function gains({ gains: list, attempt, gain_confidence: sure, groups }, gate) {
  const of = groups ? ` of ${count(groups)} groups` : "";
  const counted = sure ? `${+(100 * sure).toFixed(3)} % (attempt ${attempt} at these rows${of}) ` : percent(gate);
  const shown = list[0]?.detectable;
  const least = gate?.min_gain ?? 0;
  const ends = list.flatMap((gain) => [gain.low, gain.high, 0, least]);
  const room = Math.max(0.02, (Math.max(...ends) - Math.min(...ends)) * 0.08);
  const [from, to] = [Math.min(...ends) - room, Math.max(...ends) + room];
  return h(
    "table",
    { class: "scores" },
    h(
      "caption",
      {},
      `gain of the tuned model, row by row, with its ${counted}interval; the lines are 0${least ? ` and ${least}, which it must exceed` : ", which it must exceed"}${shown ? `; such rows show a gain of ${(shown + least).toFixed(3)} in 4 of 5 cases` : ""}`,
    ),
    h(
      "tbody",
      {},
      list.map((gain) =>
        h(
          "tr",
          { class: "candidate" },
          h("th", { scope: "row" }, `over ${gain.over === "base" ? "base" : "production"}`),
          h("td", { class: "number score" }, signed(gain.mean)),
          h("td", { class: "number" }, `${signed(gain.low)} to ${signed(gain.high)}`),
          h(
            "td",
            { class: "drawn" },
            interval(gain, gain.low > least ? "candidate" : "worse", from, to, least ? [0, least] : [0]),
          ),
        ),
      ),
    ),
  );
}

function checks(verdict) {
  const line = (check) =>
    h(
      "li",
      {},
      check.skipped ? mark.ahead() : check.passed ? mark.good() : mark.bad(),
      h(
        "span",
        {},
        h("b", {}, checkName(check.name)),
        h("span", { class: "sr" }, check.skipped ? " does not apply" : check.passed ? " passed" : " failed"),
        h("span", { class: "quiet" }, " ", check.detail),
      ),
    );
  const passedSlices = verdict.checks.filter((check) => check.passed && check.name.startsWith("slice:"));
  const open = verdict.checks.filter((check) => !passedSlices.includes(check)).sort((a, b) => blocks(b) - blocks(a));
  return h(
    "div",
    {},
    h("ul", { class: "checks" }, open.map(line)),
    passedSlices.length
      ? h(
          "details",
          {},
          h("summary", {}, `${passedSlices.length} slice ${passedSlices.length === 1 ? "check" : "checks"} passed`),
          h("ul", { class: "checks" }, passedSlices.map(line)),
        )
      : null,
  );
}

const changed = (gain) =>
  `${signed(gain.mean)} [${signed(gain.low)}, ${signed(gain.high)}] over ${gain.over === "base" ? "base" : "production"}`;

// The interval and counts of a share in words; a mean score has no hits.
const counts = ({ hits, rows, low, high }) =>
  hits === undefined
    ? null
    : [`${low.toFixed(3)} to ${high.toFixed(3)}`, `${count(hits)} of ${count(rows)}`].map((words) =>
        h("span", { class: "which" }, words),
      );

// One row each: by model a number and a drawn interval.
function byModel(caption, first, parts, name, last = []) {
  const models = ["base", "champion", "candidate"].filter((key) => parts.some((part) => part[key]));
  return h(
    "table",
    { class: "scores by-model" },
    h("caption", {}, caption),
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        h("th", { scope: "col" }, first),
        models.map((key) => h("th", { scope: "col", class: "number" }, MODELS[key])),
        h("th", { scope: "col" }, ""),
        last.map(([title]) => h("th", { scope: "col" }, title)),
      ),
    ),
    h(
      "tbody",
      {},
      parts.map((part) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, name(part)),
          models.map((key) =>
            h("td", { class: `number ${key}` }, part[key] && [part[key].mean.toFixed(3), counts(part[key])]),
          ),
          h(
            "td",
            { class: "drawn" },
            models.map((key) => part[key] && interval(part[key], key, 0, 1)),
          ),
          last.map(([, value]) => h("td", {}, value(part))),
        ),
      ),
    ),
  );
}

export function graders(run) {
  const { graders, judges } = run.evaluation;
  return [
    byModel("mean score by grader, with its interval", "grader", graders, (part) => h("code", {}, part.name)),
    ...rates(run),
    ...(judges ?? []).map(judgeUse),
  ];
}

// Shares by model, {hits, rows, low, high} each. None of no rows.
function shares(name, of) {
  const models = Object.keys(MODELS).filter(of);
  const found = models.map((key) => [key, { ...of(key), mean: of(key).hits / of(key).rows }]);
  return found.length ? [{ name, ...Object.fromEntries(found) }] : [];
}

function rates(run) {
  const { rates = {}, pairs = {} } = run.evaluation;
  const by = `with its ${percent(run.recipe?.requested.evaluation.gate)}Wilson interval`;
  const labels = (rates.candidate ?? []).flatMap(({ grader, label }, i) =>
    ["sensitivity", "specificity"].flatMap((kind) =>
      shares([h("code", {}, grader), ` ${label}`, h("span", { class: "which" }, kind)], (key) => rates[key]?.[i][kind]),
    ),
  );
  const alike = shares("answered alike", (key) => pairs[key]);
  return [
    [`sensitivity and specificity of each label, ${by}`, "grader and label", labels],
    [`agreement of counterfactual pairs, without the names, ${by}`, "pairs", alike],
  ].flatMap(([caption, first, parts]) => (parts.length ? [byModel(caption, first, parts, (part) => part.name)] : []));
}

// Which judge model graded, and its requests.
function judgeUse({ endpoint, deployment, model, requests, cached }) {
  return h(
    "p",
    { class: "quiet judge" },
    "Judge ",
    h("code", {}, `${endpoint}/${deployment}`),
    model && [" of ", h("code", {}, model)],
    `: ${count(requests)} requests, ${count(cached)} opinions of earlier evaluations.`,
  );
}

const PARTS = {
  ability: "arithmetic, knowledge, reasoning, languages, formats",
  refusal: "refuses what is harmful, in the words of a jailbreak too",
  over_refusal: "answers what only looks harmful",
};

export function general(run) {
  const skipped = new Set((run.verdict?.checks ?? []).filter((check) => check.skipped).map((check) => check.name));
  const change = (part) =>
    skipped.has(`general:${part.part}`) ? h("span", { class: "quiet" }, "does not apply") : changed(part.gain);
  return [
    byModel(
      "mean score of the general suite, with its interval",
      "part",
      run.evaluation.general,
      (part) => [words(part.part), h("span", { class: "which" }, PARTS[part.part])],
      [["change", change]],
    ),
  ];
}

export function slices(run) {
  const parts = run.evaluation.slices;
  const most = Math.max(1, ...parts.flatMap((each) => [each.base, each.candidate, each.champion ?? 0]));
  const failed = new Set((run.verdict?.checks ?? []).filter((check) => !check.passed).map((check) => check.name));
  const models = ["base", "champion", "candidate"].filter((key) =>
    parts.some((each) => each[key] !== null && each[key] !== undefined),
  );
  const bar = (each, key, row) =>
    svg("rect", {
      class: key,
      x: 0,
      y: row * 7,
      height: 5,
      width: `${(100 * Math.max(0, each[key] ?? 0)) / most}%`,
      rx: 1,
    });
  const item = (each) => {
    const bad = failed.has(`slice:${each.field}=${each.value}`);
    return h(
      "li",
      { class: bad ? "worse" : "" },
      h(
        "span",
        { class: "slice-name" },
        bad && mark.bad(),
        each.value,
        h("span", { class: "sr" }, bad ? " worse than allowed" : ""),
      ),
      svg(
        "svg",
        { height: models.length * 7 - 2, width: "100%", "aria-hidden": "true" },
        models.map((key, row) => bar(each, key, row)),
      ),
      h("span", { class: "number" }, models.map((key) => (each[key] ?? 0).toFixed(3)).join(" \u2192 ")),
      h("span", { class: "number quiet" }, `${count(each.rows)} rows`),
      each.gain && h("span", { class: "quiet change" }, changed(each.gain)),
    );
  };
  const fields = [...new Set(parts.map((each) => each.field))];
  return [
    h(
      "p",
      { class: "legend" },
      models.map((key) => h("span", { class: `key ${key}` }, MODELS[key])),
    ),
    ...fields.flatMap((field) => [
      h("h3", {}, field),
      h("ul", { class: "slices" }, parts.filter((each) => each.field === field).map(item)),
    ]),
  ];
}

