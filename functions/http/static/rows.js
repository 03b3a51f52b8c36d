// Held-out rows with every model's answer: a few samples, and all of them page by page.

import { marked } from "./diff.js";
import { count, h, svg } from "./dom.js";
import { MODELS } from "./evaluation.js";

const SAMPLES_SHOWN = 6;
const KEYS = ["base", "champion", "candidate"];

function answer(key, text, reference, facts, reasons) {
  return h(
    "div",
    { class: `answer ${key}` },
    h("h4", {}, MODELS[key], facts),
    h("p", { class: "prose", dir: "auto" }, text === "" ? h("i", {}, "no text") : marked(text, reference)),
    Object.entries(reasons ?? {}).map(([grader, reason]) =>
      h("p", { class: "quiet", dir: "auto" }, h("b", {}, `${grader}: `), reason),
    ),
  );
}

// One held-out row: prompt, reference and the answer of each model.
function card(number, { prompt, reference, answers, facts, reasons, more }) {
  return h(
    "li",
    {},
    h(
      "p",
      { class: "prompt" },
      h("span", { class: "quiet" }, `row ${number}`),
      h("span", { class: "prose", dir: "auto" }, prompt),
      more,
    ),
    h(
      "div",
      { class: "answers" },
      reference &&
        h("div", { class: "answer" }, h("h4", {}, "reference"), h("p", { class: "prose", dir: "auto" }, reference)),
      KEYS.filter((key) => typeof answers[key] === "string").map((key) =>
        answer(key, answers[key], reference || answers.base, facts?.(key), reasons?.(key)),
      ),
    ),
  );
}

export function samples(list) {
  // Those that differ first: they show what was learned.
  const sorted = [...list].sort((a, b) => (a.base === a.candidate) - (b.base === b.candidate));
  const shown = (sample) => card(sample.row, { prompt: sample.prompt, reference: sample.reference, answers: sample });
  const rest = sorted.slice(SAMPLES_SHOWN);
  return [
    h("p", { class: "quiet" }, "Marked: words that are not in the reference."),
    h("ol", { class: "samples" }, sorted.slice(0, SAMPLES_SHOWN).map(shown)),
    ...(rest.length
      ? [h("details", {}, h("summary", {}, `${rest.length} more`), h("ol", { class: "samples" }, rest.map(shown)))]
      : []),
  ];
}

const NONE = { worse: "got worse", better: "got better", same: "stayed as it was", unscored: "was left unscored" };
const CHANGES = { worse: "Got worse", better: "Got better", same: "Stayed", unscored: "Not scored by the judge" };

// `found`: {change, counts, data, next, problem}; `onRows(change, after)` asks for a first or a further page.
export function rows(found, onRows) {
  const total = Object.values(found.counts ?? {}).reduce((sum, each) => sum + each, 0);
  return [
    ...(total ? [share(found.counts, total)] : []),
    h(
      "p",
      { class: "filters", role: "group", "aria-label": "Which rows" },
      Object.entries(CHANGES).filter(([change]) => change !== "unscored" || found.counts?.unscored).map(([change, name]) =>
        h(
          "button",
          { type: "button", "aria-pressed": String(change === found.change), onclick: () => onRows(change, 0) },
          name,
          found.counts && h("span", { class: "quiet" }, ` ${count(found.counts[change])}`),
        ),
      ),
    ),
    ...(found.problem ? [h("p", { class: "bad-text", role: "alert" }, found.problem)] : []),
    ...(found.data && !found.data.length ? [h("p", { class: "quiet" }, `No row ${NONE[found.change]}.`)] : []),
    h("ol", { class: "samples" }, (found.data ?? []).map(gradedRow)),
    ...(found.next
      ? [h("button", { type: "button", class: "more", onclick: () => onRows(found.change, found.next) }, "More rows")]
      : []),
  ];
}

// A missing score is null.
const fixed = (score, digits) => (score === null ? "\u2013" : score.toFixed(digits));

function gradedRow(row) {
  const facts = (key) => {
    const parts = Object.entries(row.sub_scores[key] ?? {});
    return [
      key in row.scores && h("b", { class: "row-score" }, ` ${fixed(row.scores[key], 3)}`),
      parts.length > 1 &&
        h("span", { class: "row-parts" }, parts.map(([name, score]) => `${name} ${fixed(score, 2)}`).join(", ")),
    ];
  };
  const sliced = Object.entries(row.slices).map(([name, value]) => `${name} = ${value}`);
  const more = sliced.length > 0 && h("span", { class: "quiet row-slices" }, sliced.join(", "));
  const reasons = (key) => row.reasons[key] ?? {};
  return card(row.row, { prompt: row.prompt, reference: row.reference, answers: row.answers, facts, reasons, more });
}

function share(counts, total) {
  let from = 0;
  const piece = (change) => {
    const width = (100 * counts[change]) / total;
    const drawn = svg("rect", { class: `change-${change}`, x: `${from}%`, width: `${width}%`, height: 8 });
    from += width;
    return drawn;
  };
  return svg(
    "svg",
    { class: "share", width: "100%", height: 8, "aria-hidden": "true" },
    Object.keys(CHANGES).map(piece),
  );
}
