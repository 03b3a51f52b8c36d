// A training: how far it is, its curves, and what came of it.

import { progressBar } from "./chart.js";
import { count, figure, h, seconds } from "./dom.js";

export const trainingShown = ({ run }) => run.jobs.some((job) => job.kind === "training");

export function training({ run, metrics, metricsProblem }, charts) {
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
        figure("processed tokens", count(facts.processed_tokens)),
        figure("steps", count(facts.last_step)),
        figure("in", seconds(facts.seconds)),
        figure("train loss", loss(facts.train_loss)),
        figure("selection loss", loss(facts.eval_loss)),
        facts.selection_rows > 0 && figure("rows of selection", count(facts.selection_rows)),
        facts.canaries > 0 && figure("canaries planted", count(facts.canaries)),
        facts.dropped_rows > 0 && figure("rows dropped", count(facts.dropped_rows)),
      ),
    );
    lines.push(...(facts.diagnosis ?? []).map((sentence) => h("p", { class: "diagnosis" }, sentence)));
  }
  return lines;
}
