// The validation report: what was counted, how long rows are, what is wrong with them, and how the model reads them.

import { count, h, pair, svg, words } from "./dom.js";

// Told in a sentence, so not as a figure of its own.
const IN_WORDS = ["train_rows", "eval_rows", "messages_mean", "characters_mean", "characters_max", "extra_bytes_mean"];
const TOKEN_FIGURES = [
  "rows",
  "tokens",
  "trained_tokens",
  "tokens_mean",
  "tokens_median",
  "tokens_p95",
  "tokens_max",
  "eval_tokens_max",
  "packed_sequences",
];

// What is in the report is shown; a report of an older or newer app has fewer or more parts.
export function report({ run, report: found, preview, previewProblem }, onPreview) {
  const tokens = found.tokens;
  const rows = preview ?? found.preview;
  const errors = found.problems.filter((group) => group.severity === "error");
  const warnings = found.problems.filter((group) => group.severity !== "error");
  return [
    verdict(found, errors.length, warnings.length),
    atAGlance(found),
    errors.length && problems(errors),
    quality(found),
    found.quality?.distance && distance(found.quality.distance),
    summary(found),
    mapping(found.mapping ?? {}),
    found.plan && plan(found.plan),
    policy(run.policy ?? found.policy),
    figures(found.statistics, Object.keys(found.statistics).filter((name) => !IN_WORDS.includes(name))),
    languages(Object.entries(found.statistics.languages ?? {}).sort(([, one], [, other]) => other - one)),
    tokens && tokensPart(tokens),
    h("div", { class: "histograms" }, histograms(found.statistics)),
    warnings.length || !errors.length ? problems(warnings) : null,
    found.not_searched_for?.length &&
      h("p", { class: "quiet not-searched" }, `Personal data not searched for: ${found.not_searched_for.join(", ")}.`),
    (run.curated || rows?.length) && previewPart(rows, previewProblem, onPreview),
    h(
      "p",
      { class: "quiet report-links" },
      h("a", { class: "alone", href: `#/runs/${encodeURIComponent(run.id)}/report` }, "This report on a page of its own"),
      h("a", { class: "whole", href: `#/runs/${encodeURIComponent(run.id)}` }, "The whole run"),
    ),
  ].filter(Boolean);
}

function policy(inForce) {
  if (!inForce?.version) return null;
  const limits = Object.entries(inForce.limits).map(([setting, limit]) => h("li", {}, `${setting}: ${limit}`));
  return h(
    "div",
    { class: "policy" },
    h("p", {}, `Version ${inForce.version} of the policy: ${count(limits.length)} of the settings limited`),
    h("ul", {}, limits),
  );
}

function verdict({ passed }, errors, warnings) {
  const kinds = (many, of) => ` ${count(many)} ${many === 1 ? "kind" : "kinds"} of ${of}, listed below.`;
  const below = passed ? warnings && kinds(warnings, "warning") : `${kinds(errors, "error")} Nothing is trained.`;
  return h("p", {}, h("b", {}, passed ? "Passed." : "Rejected:"), below || null);
}

const LEARNED = {
  text: "the model learns the text",
  preference: "the model learns which answer is preferred",
  reinforcement: "the model answers them and learns from the reward",
};

// What becomes of the file, in three tiles: learned, held out, ignored.
function atAGlance({ passed, format, statistics: s, eval_source: from, tokens, quality: found }) {
  const all = s.train_rows + s.eval_rows;
  const share = all ? ` (${((100 * s.eval_rows) / all).toFixed(0)} %)` : "";
  const learned = tokens ? tokens.rows : s.train_rows;
  const loss = tokens?.tokens ? `, ${((100 * tokens.trained_tokens) / tokens.tokens).toFixed(0)} % of their tokens` : "";
  const held = from === "file" ? "from a file of their own" : `split off the training rows${share}`;
  const ignored = found?.ignored ?? [];
  return h(
    "div",
    { class: "glance" },
    tile("learned", passed ? "Learned" : "Would be learned", `${count(learned)} rows`, `${LEARNED[format] ?? "the model reads the questions and learns the answers"}${loss}`),
    tile("held-out", "Held out", `${count(s.eval_rows)} rows`, `${held}; the model is evaluated on them and never learns them`),
    ignored.length
      ? tile("ignored", "Ignored", things(ignored.length), ignored.map(({ what, rows }) => `${what} (${count(rows)})`).join(", "))
      : tile("ignored", "Ignored", "nothing", "all that is in the rows is learned or used"),
  );
}

const things = (many) => `${count(many)} ${many === 1 ? "thing" : "things"}`;

function tile(kind, name, value, words) {
  return h(
    "div",
    { class: `tile ${kind}` },
    h("h3", {}, name),
    h("p", { class: "value" }, value),
    h("p", { class: "prose" }, words),
  );
}

// Codes of findings that a subject expert can assess, with the words for it.
const TO_READ = [
  ["marked_rows", "May be marked as bad, and is learned"],
  ["contradictory_answers", "Same question, another answer"],
  ["near_duplicate", "Nearly the same text"],
  ["duplicate_row", "Exact copies"],
  ["fact_lookup", "Facts to look up, not to learn"],
  ["unexpected_language", "In another language"],
  ["length_outlier", "Far longer than the others"],
];

// What the rows teach, and which of them to read.
function quality({ quality: found, problems: all }) {
  if (!found) return null;
  const parts = [
    found.labels.length && valuesTable("Answers", found.labels, found.labels_count - found.labels.length),
    ...found.categories.map(({ field, values }) => valuesTable(`Field ${field}`, values, 0)),
  ].filter(Boolean);
  const read = toRead(found, all);
  if (!parts.length && !read.length) return null;
  return h(
    "div",
    { class: "quality" },
    parts.length ? [h("h3", {}, "What the rows are about"), h("div", { class: "histograms" }, parts)] : null,
    read.length
      ? [h("h3", {}, "Rows to read"), h("table", { class: "to-read" }, h("tbody", {}, read))]
      : null,
  );
}

// How near held-out questions are to training questions: near ones show little more than a table would.
function distance({ train_questions: learned, eval_questions: heldOut, similarity, known_words: known, recombined }) {
  const [low, middle, high] = similarity.map((share) => share.toFixed(2));
  const percent = (share) => `${(100 * share).toFixed(0)} %`;
  return h(
    "p",
    { class: "quiet distance" },
    `${count(heldOut)} held-out questions beside ${count(learned)} training questions: similarity to the nearest one ${middle} `,
    `(a tenth below ${low}, a tenth above ${high}); ${percent(known)} have no new word, `,
    `${percent(recombined)} recombine training questions.`,
  );
}

function valuesTable(name, values, more) {
  const most = Math.max(...values.map((each) => each.train_rows + (each.eval_rows ?? 0)), 1);
  const hasHeldOut = values.some((each) => each.eval_rows !== null);
  return h(
    "table",
    { class: "bars values" },
    h("caption", {}, name, hasHeldOut ? h("span", { class: "quiet" }, " learned + held out") : null),
    h("tbody", {}, values.map((each) => valueRow(each, most))),
    more > 0 ? h("tfoot", {}, h("tr", {}, h("td", { colspan: 3 }, `and ${count(more)} more`))) : null,
  );
}

function valueRow({ value, train_rows: learned, eval_rows: held, rows }, most) {
  const width = (part) => `${(100 * part) / most}%`;
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, value || h("span", { class: "quiet" }, `not shown, row ${rows.map(count).join(", ")}`)),
    h(
      "td",
      { class: "bar" },
      svg(
        "svg",
        { width: "100%", height: 12, "aria-hidden": "true" },
        svg("rect", { class: "candidate", width: width(learned), height: 12, rx: 2 }),
        held ? svg("rect", { class: "held", x: width(learned), width: width(held), height: 12, rx: 2 }) : null,
      ),
    ),
    h("td", { class: "number" }, held === null ? count(learned) : `${count(learned)} + ${count(held)}`),
  );
}

function toRead(found, all) {
  const lines = TO_READ.flatMap(([code, words]) =>
    all.filter((group) => group.code === code).map((group) => readLine(words, group.count, rowsOf(code, group, found))),
  );
  const { count: short, rows } = found.short;
  return short ? [...lines, readLine("Far shorter than the others", short, rows.join(", "))] : lines;
}

function rowsOf(code, group, { contradictions }) {
  const pairs = code === "contradictory_answers" ? contradictions.map(([one, other]) => `${one} and ${other}`) : group.rows;
  return pairs.join(", ") + (pairs.length && pairs.length < group.count ? " \u2026" : "");
}

function readLine(words, many, rows) {
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, words),
    h("td", { class: "number" }, count(many)),
    h("td", {}, rows ? `rows ${rows}` : ""),
  );
}

function summary({ format, container, statistics: s }) {
  return h(
    "p",
    {},
    `Format ${format}${container ? ` in ${container}` : ""}; `,
    `${s.messages_mean.toFixed(1)} messages and ${s.characters_mean.toFixed(0)} characters per row, longest ${count(s.characters_max)}.`,
  );
}

// Which field of the file was read as what.
function mapping(fields) {
  const names = Object.entries(fields);
  if (!names.length) return null;
  return h(
    "dl",
    { class: "mapping" },
    h("dt", {}, "Fields read as"),
    names.map(([name, part]) => h("dd", {}, h("code", {}, name), part === name ? null : ` ${part}`)),
  );
}

function plan(p) {
  const cost = `${p.low_usd.toFixed(2)} to ${p.high_usd.toFixed(2)} USD, ${p.low_hours.toFixed(2)} to ${p.high_hours.toFixed(2)} h`;
  return h(
    "p",
    { class: "plan" },
    `A run: ${count(p.n_epochs)} epochs, ${count(p.total_steps)} steps of ${count(p.rows_per_step)} rows `,
    `(about ${count(p.tokens_per_step)} tokens) on ${p.training_instance_type}; estimated ${cost}.`,
    p.smallest_gain > 0 && ` Smallest gain that the held-out rows show in 4 of 5 cases: ${p.smallest_gain.toFixed(2)}.`,
  );
}

const number = (value) => count(Number.isInteger(value) ? value : Number(value.toFixed(1)));

function figures(values, names) {
  const shown = names.filter((name) => typeof values[name] === "number");
  if (!shown.length) return null;
  return h(
    "dl",
    { class: "figures" },
    shown.map((name) => h("div", {}, pair(words(name), number(values[name])))),
  );
}

function languages(counts) {
  if (!counts.length) return null;
  const shares = counts.map(([language, rows]) => `${language} ${count(rows)}`);
  return h("p", { class: "languages quiet" }, `Languages: ${shares.join(", ")}.`);
}

function tokensPart(tokens) {
  const share = tokens.tokens ? (100 * tokens.trained_tokens) / tokens.tokens : 0;
  const limit = tokens.limit ? `Rows of more than ${count(tokens.limit)} tokens: ${tokens.over_length}` : "No limit";
  return h(
    "div",
    { class: "tokens" },
    h("h3", {}, "Training rows in tokens of the base model"),
    figures(tokens, TOKEN_FIGURES),
    h(
      "p",
      { class: "quiet" },
      `Loss falls on ${share.toFixed(0)} % of the tokens. ${limit}; ${count(tokens.rows_too_long)} found, ${count(tokens.rows_truncated)} cut.`,
    ),
    h("div", { class: "histograms" }, histograms(tokens)),
  );
}

// Whatever is a histogram, by its shape: counts[i] values up to edges[i].
function histograms(values) {
  return Object.entries(values)
    .filter(([, value]) => Array.isArray(value?.edges) && value.counts?.length)
    .map(([name, value]) => histogram(words(name), value));
}

function histogram(name, { edges, counts }) {
  const most = Math.max(...counts, 1);
  return h(
    "table",
    { class: "bars" },
    h("caption", {}, name),
    h(
      "tbody",
      {},
      counts.map((value, i) =>
        h(
          "tr",
          {},
          h("th", { scope: "row", class: "number" }, `${i ? "to" : "up to"} ${count(edges[i])}`),
          h(
            "td",
            { class: "bar" },
            svg(
              "svg",
              { width: "100%", height: 12, "aria-hidden": "true" },
              svg("rect", { class: "candidate", width: `${(100 * value) / most}%`, height: 12, rx: 2 }),
            ),
          ),
          h("td", { class: "number" }, count(value)),
        ),
      ),
    ),
  );
}

function problems(found) {
  if (!found.length) return h("p", { class: "quiet" }, "No problems found.");
  return h("ul", { class: "problems" }, found.sort((a, b) => b.count - a.count).map(problem));
}

function problem(group) {
  const at = (row, i) => [
    row,
    group.parts?.[i] ? ` ${group.parts[i]}` : "",
    group.offsets?.[i] === undefined ? "" : ` (byte ${count(group.offsets[i])})`,
  ].join("");
  const rows = group.rows.map(at).join(", ") + (group.rows.length && group.rows.length < group.count ? " \u2026" : "");
  return h(
    "li",
    { class: group.severity === "error" ? "bad" : "warn" },
    h(
      "p",
      {},
      h("span", { class: "severity" }, group.severity),
      " ",
      h("code", {}, group.code),
      h("span", { class: "quiet" }, ` ${count(group.count)} \u00d7 in ${group.file}`),
    ),
    h("p", { class: "prose" }, group.message),
    group.rows.length ? h("p", { class: "quiet" }, `rows ${rows}`) : null,
    h("p", { class: "prose" }, h("b", {}, "Fix: "), group.fix),
  );
}

function previewPart(rows, problem, onPreview) {
  return h(
    "details",
    { class: "preview", ontoggle: (event) => event.target.open && !rows && !problem && onPreview() },
    h("summary", {}, "Rows as the model reads them"),
    problem
      ? h("p", { class: "warn-text" }, `Not shown: ${problem}`)
      : !rows
        ? h("p", { class: "quiet" }, "Asking for the first rows\u2026")
        : [
            h("p", { class: "quiet" }, "Loss falls on what is ", h("mark", {}, "marked"), "."),
            h("ol", {}, rows.map(previewRow)),
          ],
  );
}

function previewRow(row) {
  return h(
    "li",
    {},
    h("h4", {}, `${row.file} row ${count(row.row)}: loss on ${count(row.trained_tokens)} of ${count(row.tokens)} tokens`),
    h(
      "pre",
      { tabindex: "0", "aria-label": `Row ${row.row} as the model reads it` },
      row.pieces.map((piece) => (piece.has_loss ? h("mark", {}, piece.text) : piece.text)),
    ),
  );
}
