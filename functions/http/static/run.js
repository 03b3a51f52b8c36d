// The parts of a run's page. Each picks what it shows out of the state and is built anew only when that changes.

import { CurveChart } from "./chart.js";
import { deployment } from "./deployment.js";
import { h } from "./dom.js";
import { evaluation, general, graders, slices } from "./evaluation.js";
import { cost, license, raw, settings, source } from "./record.js";
import { report } from "./report.js";
import { rows, samples } from "./rows.js";
import { training, trainingShown } from "./training.js";
import { attention, head, problem, timeline } from "./timeline.js";

// State: {run, metrics, metricsProblem, report, preview, previewProblem, samples, rows, base, endpoint, cancelRequested, cancelProblem}
export class RunPage {
  constructor(main, { onCancel, onPreview, onRows, tokenInUse }) {
    this.main = main;
    this.charts = [
      new CurveChart("reward", "reward", "eval_reward"),
      new CurveChart("reward accuracy", "reward_accuracy", "eval_reward_accuracy"),
      new CurveChart("loss", "train_loss", "eval_loss"),
    ];
    this.parts = [
      part(
        "head",
        null,
        (s) => [s.run.id, s.run.status, s.run.updated_at, s.cancelRequested, s.cancelProblem],
        (s) => head(s, onCancel),
      ),
      part(
        "error",
        "What went wrong",
        (s) => s.run.error,
        (s) => problem(s.run.error),
      ),
      part(
        "attention",
        "What fails at each tick",
        (s) => s.run.attention.length && s.run.attention,
        (s) => attention(s.run.attention),
      ),
      part(
        "timeline",
        "Timeline",
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
        (s) => s.run.evaluation?.graders?.length && [s.run.evaluation, s.run.recipe],
        (s) => graders(s.run),
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
        (s) => s.run.rollout && [s.run.rollout, s.run.status, s.endpoint],
        (s) => deployment(s.run, s.endpoint),
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
        "license",
        "License of the base model",
        (s) => s.base,
        (s) => license(s.base),
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
