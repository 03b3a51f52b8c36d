// One measure of training rows and rows of selection over steps, with axes and a read-out for mouse and keyboard.

import { h, seconds, svg } from "./dom.js";

const HEIGHT = 260;
const MARGIN = { top: 24, right: 14, bottom: 36, left: 52 };
const compact = (value) => (value === 0 ? "0" : String(Number(value.toPrecision(3))));

// Sorted, the last value of a step wins: a resumed job logs a step again. What is no number is left out.
export function points(series) {
  const byStep = new Map();
  for (const [step, value] of series ?? []) {
    if (Number.isFinite(step) && Number.isFinite(value)) byStep.set(step, value);
  }
  return [...byStep].sort((a, b) => a[0] - b[0]);
}

function linearTicks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n += 1) {
    ticks.push(Number((n * step).toPrecision(12)));
  }
  return ticks;
}

function logTicks(low, high) {
  const decades = Math.log10(high / low);
  const factors = decades > 3 ? [1] : decades > 1.2 ? [1, 3] : [1, 2, 3, 5, 7];
  const ticks = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
    for (const factor of factors) {
      const value = factor * 10 ** power;
      if (value >= low * 0.999 && value <= high * 1.001) ticks.push(value);
    }
  }
  return ticks.length > 1 ? ticks : linearTicks(low, high, 4);
}

// `train` and `selection` are the keys of the two curves among the series.
export class CurveChart {
  constructor(name, train, selection) {
    this.name = name;
    this.sources = [
      { key: train, kind: "train", label: "train" },
      { key: selection, kind: "selection", label: "selection" },
    ];
    this.curves = [];
    this.extra = {};
    this.log = false;
    this.at = null;
    this.readout = h("p", { class: "readout", role: "status" });
    this.plot = h("div", {
      class: "plot",
      tabindex: "0",
      role: "group",
      "aria-label": `Curve of ${name}; the arrow keys read it step by step`,
      onpointermove: (event) => this.#point(event),
      onpointerleave: () => this.#show(null),
      onkeydown: (event) => this.#key(event),
      onblur: () => this.#show(null),
    });
    this.buttons = [
      ["linear", false],
      ["log", true],
    ].map(([label, log]) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(log === this.log),
          onclick: () => this.#scale(log),
        },
        label,
      ),
    );
    this.node = h(
      "div",
      { class: "chart" },
      h("div", { class: "toggle", role: "group", "aria-label": `Axis of ${name}` }, this.buttons),
      this.readout,
      this.plot,
    );
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  update(series) {
    this.curves = this.sources.map((source) => ({ ...source, points: points(series[source.key]) }));
    this.extra = { learning_rate: points(series.learning_rate), tokens_per_s: points(series.tokens_per_s) };
    this.draw();
  }

  get empty() {
    return this.curves.every((curve) => curve.points.length === 0);
  }

  draw() {
    const width = this.plot.clientWidth;
    const drawn = this.curves
      .map((curve) => ({
        ...curve,
        points: this.log ? curve.points.filter(([, value]) => value > 0) : curve.points,
      }))
      .filter((curve) => curve.points.length);
    if (width < 120 || !drawn.length) {
      this.plot.replaceChildren();
      this.#say();
      return;
    }
    const steps = drawn.flatMap((curve) => curve.points.map(([step]) => step));
    const values = drawn.flatMap((curve) => curve.points.map(([, value]) => value));
    // Hundreds of points never spread as arguments: an array of a long run would be too many.
    const least = (list) => list.reduce((a, b) => Math.min(a, b));
    const most = (list) => list.reduce((a, b) => Math.max(a, b));
    const [x0, x1] = [least(steps), Math.max(most(steps), least(steps) + 1)];
    let [y0, y1] = [this.log ? least(values) : Math.min(0, least(values)), most(values)];
    if (y0 === y1) [y0, y1] = this.log ? [y0 / 2, y1 * 2] : [y0, y1 + 1];
    const f = this.log ? Math.log : (value) => value;
    this.x = (step) => MARGIN.left + ((step - x0) / (x1 - x0)) * (width - MARGIN.left - MARGIN.right);
    this.y = (value) =>
      HEIGHT - MARGIN.bottom - ((f(value) - f(y0)) / (f(y1) - f(y0))) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    this.drawn = drawn;
    this.steps = [...new Set(steps)].sort((a, b) => a - b);

    const right = width - MARGIN.right;
    const floor = HEIGHT - MARGIN.bottom;
    const grid = (this.log ? logTicks(y0, y1) : linearTicks(y0, y1, 5)).map((value) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: this.y(value), y2: this.y(value) }),
      svg("text", { class: "tick", x: MARGIN.left - 8, y: this.y(value) + 4, "text-anchor": "end" }, compact(value)),
    ]);
    const bottom = linearTicks(x0, x1, Math.max(4, width / 110))
      .filter(Number.isInteger)
      .map((step) => [
        svg("line", { class: "axis", x1: this.x(step), x2: this.x(step), y1: floor, y2: floor + 4 }),
        svg("text", { class: "tick", x: this.x(step), y: floor + 17, "text-anchor": "middle" }, String(step)),
      ]);
    this.cursor = svg("g", { class: "cursor" });
    this.plot.replaceChildren(
      svg(
        "svg",
        {
          width,
          height: HEIGHT,
          role: "img",
          "aria-label": drawn
            .map((c) => `${c.label} ${this.name} from ${compact(c.points[0][1])} to ${compact(c.points.at(-1)[1])}`)
            .join("; "),
        },
        grid,
        svg("line", { class: "axis", x1: MARGIN.left, x2: right, y1: floor, y2: floor }),
        bottom,
        svg("text", { class: "tick", x: right, y: HEIGHT - 4, "text-anchor": "end" }, "step"),
        svg(
          "text",
          { class: "tick", x: right, y: 12, "text-anchor": "end" },
          this.log ? `${this.name} (log)` : this.name,
        ),
        drawn.map((curve) => this.#curve(curve)),
        this.cursor,
      ),
    );
    this.#show(this.at);
  }

  #curve(curve) {
    const path = curve.points.map(
      ([step, value], i) => `${i ? "L" : "M"}${this.x(step).toFixed(1)} ${this.y(value).toFixed(1)}`,
    );
    const dots =
      curve.points.length < 30
        ? curve.points.map(([step, value]) => svg("circle", { cx: this.x(step), cy: this.y(value), r: 3 }))
        : [];
    return svg("g", { class: `curve ${curve.kind}` }, svg("path", { d: path.join("") }), dots);
  }

  #scale(log) {
    this.log = log;
    this.buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(Boolean(index) === log)));
    this.draw();
  }

  #point(event) {
    if (!this.steps?.length || !this.plot.firstChild) return;
    const x = event.clientX - this.plot.getBoundingClientRect().left;
    this.#show(
      this.steps.reduce((best, step) => (Math.abs(this.x(step) - x) < Math.abs(this.x(best) - x) ? step : best)),
    );
  }

  #key(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };
    if (event.key === "Escape") this.#show(null);
    if (!(event.key in moves) || !this.steps?.length) return;
    event.preventDefault();
    const from = this.at === null ? (moves[event.key] > 0 ? -1 : this.steps.length) : this.steps.indexOf(this.at);
    this.#show(this.steps[Math.min(this.steps.length - 1, Math.max(0, from + moves[event.key]))]);
  }

  #show(step) {
    this.at = step !== null && this.steps?.includes(step) ? step : null;
    this.#say();
    if (!this.cursor) return;
    this.cursor.replaceChildren();
    if (this.at === null) return;
    const x = this.x(this.at);
    this.cursor.append(svg("line", { x1: x, x2: x, y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
    for (const curve of this.drawn) {
      const value = curve.points.find(([at]) => at === this.at)?.[1];
      if (value !== undefined) this.cursor.append(svg("circle", { class: curve.kind, cx: x, cy: this.y(value), r: 4 }));
    }
  }

  // Without a cursor the legend shows the last values, so the loss is seen without hovering.
  #say() {
    const nearest = (list) => (this.at === null ? list.at(-1) : list.findLast(([step]) => step <= this.at));
    const shown = this.curves.filter((curve) => curve.points.length);
    if (!shown.length) {
      this.readout.replaceChildren();
      return;
    }
    const last = Math.max(...shown.map((curve) => curve.points.at(-1)[0]));
    const parts = [h("span", { class: "at" }, `step ${this.at ?? last}`)];
    for (const curve of shown) {
      const found = nearest(curve.points);
      if (found) parts.push(h("span", { class: `key ${curve.kind}` }, `${curve.label} `, h("b", {}, compact(found[1]))));
    }
    const rate = nearest(this.extra.learning_rate ?? []);
    if (rate) parts.push(h("span", { class: "quiet" }, `rate ${rate[1].toExponential(1)}`));
    const speed = nearest(this.extra.tokens_per_s ?? []);
    if (speed) parts.push(h("span", { class: "quiet" }, `${Math.round(speed[1]).toLocaleString("en")} tokens/s`));
    this.readout.replaceChildren(...parts);
  }
}

export function progressBar(progress) {
  const left = progress.eta_s === null || progress.eta_s === undefined ? "" : `, ${seconds(progress.eta_s)} left`;
  const share = Math.round((100 * progress.step) / Math.max(1, progress.total_steps));
  return h(
    "div",
    { class: "progress" },
    h("progress", { max: Math.max(1, progress.total_steps), value: progress.step, "aria-label": "Training" }),
    h("span", {}, `step ${progress.step} of ${progress.total_steps} (${share} %)${left}`),
  );
}
