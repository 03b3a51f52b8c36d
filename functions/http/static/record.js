// What a run cost and was made of.

import { clock, figure, h, pair, words } from "./dom.js";

export function cost(estimate) {
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
      figure("hours estimated", `${estimate.low_hours.toFixed(2)} to ${estimate.high_hours.toFixed(2)}`),
    ),
  ];
}

export function settings(resolved) {
  const values = {
    ...resolved.hyperparameters,
    training_instance_type: resolved.training_instance_type,
    serving_instance_type: resolved.serving_instance_type,
  };
  const rows = [
    ["base_model", resolved.requested.base_model, "set in the recipe or the platform\u2019s default"],
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

export function license(base) {
  const { texts, barred_uses: bars } = base.terms;
  const newest = base.decisions.at(-1);
  const list = (items) => h("ul", {}, items.map((each) => h("li", {}, each)));
  return [
    h(
      "dl",
      { class: "pairs" },
      pair("License", h("code", {}, base.terms.id)),
      pair("Asks for", list(base.terms.obligations)),
      pair("Bars", bars.length ? bars.map(words).join(", ") : "nothing"),
      newest &&
        pair(newest.accepted ? "Accepted" : "Refused", [`${newest.by}, `, clock(newest.at), `: ${newest.comment}`]),
      base.review_problem && pair("Missing", base.review_problem.message),
      Object.keys(texts).length
        ? pair(
            "Texts",
            list(
              Object.keys(texts).map((each) => h("a", { href: each, rel: "noreferrer noopener", target: "_blank" }, each)),
            ),
          )
        : null,
    ),
  ];
}

export function source(run) {
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
                job.studio_url?.startsWith("https://") && !job.studio_url.includes("/subscriptions/local/")
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

export function raw(run, tokenInUse) {
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
