// The parts of a run's page. Each picks what it shows out of the state and is built anew only when that changes.

import { CurveChart, progressBar } from "./chart.js";
import {
  badge,
  bytes,
  clock,
  count,
  ended,
  h,
  mark,
  pair,
  running,
  seconds,
  signed,
  since,
  statusMark,
  svg,
  tone,
  words,
} from "./dom.js";
import { evaluation, general, graders, slices } from "./evaluation.js";
import { report } from "./report.js";
import { rows, samples } from "./rows.js";

const HAPPY_PATH = ["received", "validated", "training", "evaluating", "approved", "deploying", "deployed"];
const BESIDE_IT = { validating: "received", awaiting_approval: "evaluating" };

// State: {run, metrics, metricsProblem, report, preview, previewProblem, samples, rows, cancelAsked, cancelProblem}
export class RunPage {
  constructor(main, { onCancel, onPreview, onRows, tokenInUse }) {
    this.main = main;
    this.charts = [
      new CurveChart("reward", "reward", "eval_reward"),
      new CurveChart("pairs told apart", "reward_accuracy", "eval_reward_accuracy"),
      new CurveChart("loss", "train_loss", "eval_loss"),
    ];
    this.parts = [
      part(
        "head",
        null,
        (s) => [s.run.id, s.run.status, s.run.updated_at, s.cancelAsked, s.cancelProblem],
        (s) => head(s, onCancel),
      ),
      part(
        "error",
        "What went wrong",
        (s) => s.run.error,
        (s) => problem(s.run.error),
      ),
      part(
        "way",
        "Way through the stages",
        (s) => [s.run.history, s.run.status],
        (s) => timeline(s.run),
      ),
      part(
        "curve",
        "Training",
        (s) => trainingShown(s) && [s.metrics, s.metricsProblem, s.run.training, s.run.status],
        (s) => training(s, this.charts),
      ),
      part(
        "verdict",
        "Evaluation",
        (s) => s.run.evaluation && [s.run.evaluation, s.run.verdict, s.run.decision],
        (s) => evaluation(s.run),
      ),
      part(
        "graders",
        "Graders",
        (s) => s.run.evaluation?.graders?.length && s.run.evaluation.graders,
        (s) => graders(s.run.evaluation),
      ),
      part(
        "slices",
        "Slices",
        (s) => s.run.evaluation?.slices.length && s.run.evaluation.slices,
        (s) => slices(s.run),
      ),
      part(
        "general",
        "General ability",
        (s) => s.run.evaluation?.general?.length && [s.run.evaluation.general, s.run.verdict],
        (s) => general(s.run),
      ),
      part(
        "samples",
        "Held-out rows, before and after",
        (s) => s.samples?.length && s.samples,
        (s) => samples(s.samples),
      ),
      part(
        "rows",
        "Row by row",
        (s) => s.run.evaluation && s.rows,
        (s) => rows(s.rows, onRows),
      ),
      part(
        "deployment",
        "Deployment",
        (s) => s.run.rollout && [s.run.rollout, s.run.status],
        (s) => deployment(s.run),
      ),
      part(
        "cost",
        "Cost",
        (s) => s.run.cost,
        (s) => cost(s.run.cost),
      ),
      part(
        "report",
        "Validation report",
        (s) => s.report && [s.report, s.preview, s.previewProblem, s.run.curated],
        (s) => report(s, onPreview),
      ),
      part(
        "settings",
        "Hyperparameters",
        (s) => s.run.recipe && s.run.recipe,
        (s) => settings(s.run.recipe),
      ),
      part(
        "source",
        "Data and jobs",
        (s) => [s.run.dataset, s.run.curated, s.run.jobs, s.run.champion],
        (s) => source(s.run),
      ),
      part(
        "raw",
        null,
        (s) => s.run,
        (s) => raw(s.run, tokenInUse()),
      ),
    ];
    main.replaceChildren(
      h(
        "article",
        { class: "run" },
        this.parts.map((each) => each.node),
      ),
    );
  }

  show(state) {
    for (const each of this.parts) each.show(state);
  }
}

function part(id, title, pick, build) {
  const body = h("div", { class: "body" });
  const node = h("section", { id: `part-${id}`, hidden: true }, title && h("h2", {}, title), body);
  let last;
  return {
    node,
    show(state) {
      const picked = pick(state);
      const now = JSON.stringify(picked ?? null);
      if (now === last) return;
      last = now;
      node.hidden = !picked;
      const open = body.querySelector("details")?.open;
      const nodes = picked ? build(state) : [];
      // A node that stays, a chart, is never moved: it would lose its focus.
      for (const old of [...body.children]) if (!nodes.includes(old)) old.remove();
      nodes.forEach((each, i) => {
        if (body.children[i] !== each) body.insertBefore(each, body.children[i] ?? null);
      });
      if (open && body.querySelector("details")) body.querySelector("details").open = true;
    },
  };
}

function head({ run, cancelAsked, cancelProblem }, onCancel) {
  const gain = run.evaluation?.gains.find((each) => each.over === "base");
  const stoppable = !ended(run) && run.status !== "cancelling";
  return [
    h(
      "div",
      { class: "title" },
      h("a", { class: "back", href: "#/" }, "\u2190 Runs"),
      h("h1", {}, run.project),
      badge(run.status),
      h(
        "div",
        { class: "actions" },
        stoppable && !cancelAsked && h("button", { type: "button", id: "cancel", onclick: onCancel }, "Cancel\u2026"),
      ),
    ),
    h(
      "p",
      { class: "facts" },
      h("code", {}, run.id),
      h("span", {}, run.dataset.path.split("/").at(-1), ", ", bytes(run.dataset.size_bytes)),
      h("span", {}, "started ", running("age", run.created_at)),
      h(
        "span",
        {},
        ended(run)
          ? ["took ", seconds(since(run.created_at, run.updated_at))]
          : ["for ", running("duration", run.created_at)],
      ),
      gain && h("span", {}, "gain ", h("b", {}, signed(gain.mean))),
      run.attempt > 1 && h("span", {}, `attempt ${run.attempt}`),
    ),
    ...[
      run.duplicate_of &&
        h(
          "p",
          {},
          "The same data, recipe and held-out set as ",
          h("a", { href: `#/runs/${encodeURIComponent(run.duplicate_of)}` }, run.duplicate_of),
          ".",
        ),
      cancelAsked &&
        stoppable &&
        h("p", { class: "quiet", role: "status" }, "Cancel asked for; the run ends once its job is seen stopped."),
      cancelProblem && h("p", { class: "bad-text", role: "alert" }, "Not cancelled: ", cancelProblem),
    ].filter(Boolean),
  ];
}

function problem({ failure_class: kind, problem: { code, message, param } }) {
  return [
    h(
      "dl",
      { class: "pairs" },
      pair("Class", kind),
      pair("Code", h("code", {}, code)),
      pair("Message", h("span", { class: "prose" }, message)),
      param && pair("Parameter", h("code", {}, param)),
    ),
  ];
}


// History with what stays in one status as lines of one stage.
function stages(run) {
  const found = [];
  for (const line of run.history) {
    if (found.at(-1)?.status === line.status) found.at(-1).lines.push(line);
    else found.push({ status: line.status, lines: [line] });
  }
  return found;
}

function timeline(run) {
  const found = stages(run);
  const items = found.map((stage, index) => {
    const from = stage.lines[0].at;
    const next = found[index + 1]?.lines[0].at;
    const last = !next;
    const spent = next ? seconds(since(from, next)) : ended(run) ? "" : running("duration", from);
    const notes = stage.lines.filter((line) => line.note || stage.lines.length > 1);
    return h(
      "li",
      { class: last ? `now ${tone(stage.status)}` : "", "aria-current": last ? "step" : null },
      last ? statusMark(stage.status) : mark.good(),
      h(
        "div",
        {},
        h("p", { class: "stage" }, h("b", {}, words(stage.status)), h("span", { class: "spent" }, spent), clock(from)),
        h("p", { class: "detail" }, detail(run, stage.status)),
        notes.length
          ? h(
              "ul",
              { class: "notes" },
              notes.map((line) =>
                h("li", {}, clock(line.at), " ", line.note || words(line.event_type.split(".").slice(1, -1).join(" "))),
              ),
            )
          : null,
      ),
    );
  });
  const here = HAPPY_PATH.indexOf(BESIDE_IT[run.status] ?? run.status);
  const ahead = here < 0 ? [] : HAPPY_PATH.slice(here + 1);
  return [
    h(
      "ol",
      { class: "timeline" },
      items,
      ahead.map((status) =>
        h("li", { class: "ahead" }, mark.ahead(), h("div", {}, h("p", { class: "stage" }, words(status)))),
      ),
    ),
  ];
}

function detail(run, status) {
  if (status === "validated" && run.curated)
    return `${count(run.curated.train_rows)} rows to train on, ${count(run.curated.eval_rows)} held out`;
  if (status === "training" && run.training)
    return `${count(run.training.steps)} steps, ${count(run.training.trained_tokens)} tokens trained`;
  if (status === "evaluating" && run.evaluation)
    return `base ${run.evaluation.base.mean.toFixed(3)}, tuned ${run.evaluation.candidate.mean.toFixed(3)}`;
  if (status === "deploying" && run.rollout) return `${run.rollout.endpoint} / ${run.rollout.deployment}`;
  return null;
}

const trainingShown = ({ run }) => run.jobs.some((job) => job.stage === "training");

function training({ run, metrics, metricsProblem }, charts) {
  charts.forEach((chart) => chart.update(metrics?.series ?? {}));
  const facts = run.training;
  const lines = [];
  if (metrics?.progress && run.status === "training") lines.push(progressBar(metrics.progress));
  const drawn = charts.filter((chart) => !chart.empty);
  // A chart's node is always the same, so a redraw keeps focus and cursor.
  lines.push(...drawn.map((chart) => chart.node));
  if (!drawn.length)
    lines.push(
      h(
        "p",
        { class: "quiet" },
        metrics || metricsProblem ? "No curve has been logged yet." : "Asking for the curve\u2026",
      ),
    );
  if (metricsProblem) lines.push(h("p", { class: "warn-text" }, "The curve cannot be read now: ", metricsProblem));
  if (facts) {
    const loss = (value) => (value === null ? "\u2013" : value.toPrecision(3));
    lines.push(
      h(
        "dl",
        { class: "figures" },
        figure("trained tokens", count(facts.trained_tokens)),
        figure("steps", count(facts.steps)),
        figure("in", seconds(facts.seconds)),
        figure("train loss", loss(facts.train_loss)),
        figure("held-out loss", loss(facts.eval_loss)),
        facts.dropped_rows > 0 && figure("rows dropped", count(facts.dropped_rows)),
      ),
    );
    lines.push(...(facts.diagnosis ?? []).map((sentence) => h("p", { class: "diagnosis" }, sentence)));
  }
  return lines;
}

const figure = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));

function deployment(run) {
  const { endpoint, deployment: name, model, previous, traffic, scoring_uri: uri } = run.rollout;
  const share = (split) =>
    Object.keys(split).length
      ? h(
          "ul",
          { class: "traffic" },
          Object.entries(split).map(([each, percent]) =>
            h(
              "li",
              {},
              h("span", {}, each === name ? h("b", {}, each) : each),
              svg(
                "svg",
                { height: 8, width: "100%", "aria-hidden": "true" },
                svg("rect", { class: "back", width: "100%", height: 8, rx: 2 }),
                svg("rect", {
                  class: each === name ? "candidate" : "champion",
                  width: `${percent}%`,
                  height: 8,
                  rx: 2,
                }),
              ),
              h("span", { class: "number" }, `${percent} %`),
            ),
          ),
        )
      : "none";
  const parts = [
    h(
      "dl",
      { class: "pairs" },
      pair("Endpoint", h("code", {}, endpoint)),
      pair("Deployment", h("code", {}, name)),
      pair("Model", h("code", {}, model)),
      pair("Traffic", share(traffic)),
      Object.keys(previous).length ? pair("Before", share(previous)) : null,
    ),
  ];
  if (uri) parts.push(...curl(uri, run.project));
  return parts;
}

const quoted = (value) => `'${value.replaceAll("'", "'\\''")}'`;

function curl(uri, model) {
  // An endpoint forwards any path to its container; the scoring URI itself may end in /score.
  const url = `${uri.replace(/\/+$/, "").replace(/\/score$/, "")}/v1/chat/completions`;
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Your question" }] });
  const command = [
    `curl ${quoted(url)}`,
    '-H "Authorization: Bearer $TOKEN"',
    "-H 'Content-Type: application/json'",
    `-d ${quoted(body)}`,
  ].join(" \\\n  ");
  const copy = h(
    "button",
    {
      type: "button",
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(command);
          copy.textContent = "Copied";
        } catch {
          copy.textContent = "Select the text";
        }
        setTimeout(() => {
          copy.textContent = "Copy";
        }, 2000);
      },
    },
    "Copy",
  );
  return [
    h("pre", { class: "command", tabindex: "0", "aria-label": "Command that asks the endpoint" }, command),
    h(
      "p",
      { class: "quiet" },
      copy,
      " TOKEN in Azure: ",
      h("code", {}, "az account get-access-token --resource https://ml.azure.com --query accessToken -o tsv"),
    ),
  ];
}

function cost(estimate) {
  if (estimate.hourly_usd === 0)
    return [h("p", { class: "quiet" }, "None: the jobs run on a machine without a price.")];
  const usd = (value) => `${value.toFixed(estimate.high_usd < 1 ? 4 : 2)} USD`;
  const actual = estimate.actual_usd;
  return [
    h(
      "dl",
      { class: "figures" },
      figure("counted so far", typeof actual === "number" ? usd(actual) : "\u2013"),
      figure("estimated", `${usd(estimate.low_usd).replace(" USD", "")} to ${usd(estimate.high_usd)}`),
      figure("list price", `${estimate.hourly_usd.toFixed(2)} USD / h`),
      figure("hours estimated", `${estimate.hours_low.toFixed(2)} to ${estimate.hours_high.toFixed(2)}`),
    ),
  ];
}

function settings(resolved) {
  const values = {
    ...resolved.hyperparameters,
    training_instance_type: resolved.training_instance_type,
    serving_instance_type: resolved.serving_instance_type,
  };
  const rows = [
    ["base_model", resolved.recipe.base_model, "set in the recipe or the platform\u2019s default"],
    ...Object.entries(values).map(([name, value]) => [name, value, resolved.reasons[name] ?? ""]),
  ];
  return [
    h(
      "table",
      { class: "settings" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["setting", "value", "why"].map((name) => h("th", { scope: "col" }, name)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map(([name, value, why]) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, words(name)),
            h("td", {}, h("code", {}, String(value))),
            h("td", {}, why),
          ),
        ),
      ),
    ),
  ];
}

function source(run) {
  const { dataset, curated } = run;
  return [
    h(
      "dl",
      { class: "pairs" },
      pair("Dataset", h("code", {}, dataset.path)),
      pair("SHA-256", h("code", {}, dataset.sha256)),
      curated && pair("Curated version", h("code", {}, curated.version)),
      run.jobs.length
        ? pair(
            "Jobs",
            run.jobs.map((job) =>
              h(
                "p",
                {},
                job.studio_url?.startsWith("https://")
                  ? h("a", { href: job.studio_url, rel: "noreferrer noopener", target: "_blank" }, job.name)
                  : h("code", {}, job.name),
                h("span", { class: "quiet" }, " submitted "),
                clock(job.submitted_at),
              ),
            ),
          )
        : null,
      run.champion &&
        pair("In production before", h("a", { href: `#/runs/${encodeURIComponent(run.champion)}` }, run.champion)),
    ),
  ];
}

function raw(run, tokenInUse) {
  const text = h("pre", { tabindex: "0", "aria-label": "The run as JSON" });
  const details = h(
    "details",
    {
      ontoggle: () => {
        text.textContent = details.open ? JSON.stringify(run, null, 2) : "";
      },
    },
    h("summary", {}, "Raw JSON"),
    text,
  );
  // A link sends no token; with one in use the text above is the way.
  return [
    details,
    ...(tokenInUse
      ? []
      : [h("p", {}, h("a", { href: `/api/runs/${encodeURIComponent(run.id)}` }, `/api/runs/${run.id}`))]),
  ];
}
