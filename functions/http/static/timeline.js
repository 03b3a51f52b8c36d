// The head of a run's page: title, problem and the timeline of its stages.

import {
  badge,
  bytes,
  clock,
  count,
  endOf,
  ended,
  h,
  mark,
  pair,
  running,
  seconds,
  signed,
  since,
  statusMark,
  tone,
  words,
} from "./dom.js";

const HAPPY_PATH = ["received", "validated", "training", "evaluating", "approved", "deploying", "deployed"];
const BESIDE_IT = { validating: "received", trained: "training", awaiting_approval: "evaluating" };

export function head({ run, cancelRequested, cancelProblem }, onCancel) {
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
        stoppable && !cancelRequested && h("button", { type: "button", id: "cancel", onclick: onCancel }, "Cancel\u2026"),
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
          ? ["took ", seconds(since(run.created_at, endOf(run)))]
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
      cancelRequested &&
        stoppable &&
        h("p", { class: "quiet", role: "status" }, "Cancel asked for; the run ends once its job is seen stopped."),
      cancelProblem && h("p", { class: "bad-text", role: "alert" }, "Not cancelled: ", cancelProblem),
    ].filter(Boolean),
  ];
}

export function problem({ failure_class: kind, problem: { code, message, param } }) {
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

// What timers fail at with the run, at each of their ticks since then.
export function attention(found) {
  const pairs = found.map((one) =>
    pair(words(one.timer), h("span", { class: "prose" }, "since ", clock(one.since), ": ", one.problem)),
  );
  return [h("dl", { class: "pairs" }, ...pairs)];
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

export function timeline(run) {
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
    return `${count(run.curated.train_rows)} training rows, ${count(run.curated.eval_rows)} held out`;
  if (status === "training" && run.training)
    return `${count(run.training.last_step)} steps, ${count(run.training.processed_tokens)} tokens processed`;
  if (status === "evaluating" && run.evaluation)
    return `base ${run.evaluation.base.mean.toFixed(3)}, tuned ${run.evaluation.candidate.mean.toFixed(3)}`;
  if (status === "deploying" && run.rollout) return `${run.rollout.endpoint} / ${run.rollout.deployment}`;
  return null;
}
