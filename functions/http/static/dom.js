// Building blocks. Text reaches the page through text nodes only: training data is untrusted.

// Characters that reorder or hide text would let an answer lie about itself, so they are shown by number.
const HIDDEN =
  /([\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff])/u;

export function text(value) {
  const fragment = document.createDocumentFragment();
  String(value)
    .split(HIDDEN)
    .forEach((part, index) => {
      if (index % 2 === 0) {
        if (part) fragment.append(part);
        return;
      }
      const shown = document.createElement("span");
      shown.className = "hidden-character";
      shown.textContent = `U+${part.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
      fragment.append(shown);
    });
  return fragment;
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : text(child));
  }
  return node;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

export const pair = (name, value) => [h("dt", {}, name), h("dd", {}, value)];
export const figure = (name, value) => h("div", {}, pair(name, value));

// Numbers and times in words, as the command line says them.

export function seconds(value) {
  if (value < 10) return `${value.toFixed(1)} s`;
  if (value < 120) return `${value.toFixed(0)} s`;
  const minutes = Math.floor(Math.round(value) / 60);
  if (minutes < 120) return `${minutes} min ${String(Math.round(value) % 60).padStart(2, "0")} s`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(minutes / 1440)} days`;
}

export function age(value) {
  if (value < 60) return "just now";
  if (value < 3600) return `${Math.floor(value / 60)} min ago`;
  if (value < 48 * 3600) return `${Math.floor(value / 3600)} h ago`;
  return `${Math.floor(value / 86400)} days ago`;
}

export function bytes(value) {
  for (const unit of ["B", "kB", "MB"]) {
    if (value < 1000) return unit === "B" ? `${value} B` : `${value.toFixed(1)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} GB`;
}

export const count = (value) => value.toLocaleString("en");
export const signed = (value) => (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(3);
export const since = (from, to) => Math.max(0, ((to ? new Date(to) : new Date()) - new Date(from)) / 1000);

// A running time: the ticker in app.js writes it anew every second.
export function running(kind, from) {
  const node = h("span", { "data-kind": kind, "data-from": from });
  tick(node);
  return node;
}

export function tick(node) {
  const value = since(node.dataset.from);
  node.textContent = node.dataset.kind === "age" ? age(value) : seconds(Math.floor(value));
}

export function clock(at) {
  const date = new Date(at);
  return h("time", { datetime: at, title: date.toLocaleString() }, date.toLocaleTimeString("en-GB"));
}

// A status is a word and a shape; color only repeats it.

const CHECK = "M3 8.5l3.5 3.5L13 4.5";
const CROSS = "M4 4l8 8M12 4l-8 8";
const DASH = "M3 8h10";
const BACK = "M6 4L2.5 7.5 6 11M3 7.5h6a4 3.5 0 0 1 0 6";
const EQUAL = "M3 5.5h10M3 10.5h10";
const SQUARE = "M4 4h8v8H4z";
const ENDS = {
  deployed: ["good", CHECK],
  rejected: ["bad", CROSS],
  failed: ["bad", CROSS],
  declined: ["warn", DASH],
  rolled_back: ["warn", BACK],
  duplicate: ["still", EQUAL],
  cancelled: ["still", SQUARE],
};
const LIVE = [
  "received",
  "validating",
  "validated",
  "training",
  "trained",
  "evaluating",
  "awaiting_approval",
  "approved",
  "deploying",
  "rolling_back",
  "cancelling",
];
export const STATUSES = [...LIVE, ...Object.keys(ENDS)];
export const ended = (run) => run.status in ENDS;
// A later rollback of a deployed model changes the run, but not when it ended.
export const endOf = (run) => run.history.find(ended)?.at ?? run.updated_at;
export const words = (name) => name.replaceAll("_", " ");
export const tone = (status) => ENDS[status]?.[0] ?? "live";

function drawn(kind, shape) {
  return svg("svg", { class: `icon ${kind}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, shape);
}
export const mark = {
  good: () => drawn("good", svg("path", { d: CHECK })),
  bad: () => drawn("bad", svg("path", { d: CROSS })),
  live: () => drawn("live", svg("circle", { cx: 8, cy: 8, r: 4.5 })),
  ahead: () => drawn("ahead", svg("circle", { cx: 8, cy: 8, r: 4 })),
};

export function statusMark(status) {
  const end = ENDS[status];
  return end ? drawn(end[0], svg("path", { d: end[1] })) : mark.live();
}

export function badge(status) {
  return h("span", { class: `status ${tone(status)}` }, statusMark(status), words(status));
}
