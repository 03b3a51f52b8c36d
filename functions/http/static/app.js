// Which page is shown, and the loops that keep it fresh.

import { Refused, Unreachable, backoff, call, sleep, token, visible } from "./api.js";
import { address, addressOf } from "./address.js";
import { STATUSES, badge, endOf, ended, h, running, seconds, since, tick, words } from "./dom.js";
import { home } from "./home.js";
import { RunPage } from "./run.js";
import { tokenForm } from "./token.js";

const LIST_EVERY_MS = 5000;
const METRICS_EVERY_MS = 2000;
const METRICS_AGAIN_MS = 10_000;
const WAIT_S = 20;
// Between two long polls, should one be answered at once again and again.
const AT_LEAST_MS = 250;
const PAGE = 20;
const LONGEST_PAGE = 100;

const at = (id) => document.getElementById(id);
const list = { runs: [], unreadable: [], next: null, loaded: false, drawn: null, stop: null };
let page = { id: null, stop: null };

// One loop's life: polls while the page is shown, and shows when the API does not answer.

const troubled = new Map();

function say(loop, message) {
  if (message) troubled.set(loop, message);
  else troubled.delete(loop);
  const line = [...troubled.values()][0] ?? "";
  if (at("connection").textContent !== line) at("connection").textContent = line;
}

async function loop(name, signal, once) {
  let failures = 0;
  while (!signal.aborted) {
    await visible(signal);
    let pause;
    try {
      pause = await once();
      if (signal.aborted) break;
      failures = 0;
      say(name, null);
      if (pause === null) return;
    } catch (error) {
      if (signal.aborted) break;
      if (error instanceof Refused && (error.status === 401 || (error.status === 403 && token.get()))) {
        say(name, null);
        askForToken(error);
        return;
      }
      if (error instanceof Refused && error.status < 500) {
        say(name, null);
        refuse(name, error);
        return;
      }
      failures += 1;
      pause = backoff(failures);
      const seen =
        error instanceof Unreachable
          ? "The API does not answer"
          : error instanceof Refused
            ? `The API failed (${error.problem.code})`
            : `This page failed (${error.message})`;
      say(name, `${seen}; asking again in ${Math.round(pause / 1000)} s. What you see may be old.`);
    }
    await sleep(pause, signal);
  }
  say(name, null);
}

function refuse(name, error) {
  const where = error.problem.param ? ` (${error.problem.param})` : "";
  const text = `${error.problem.code}: ${error.problem.message}${where}`;
  if (name === "list") {
    list.drawn = null;
    emptyList(text);
  } else
    at("main").replaceChildren(
      h(
        "div",
        { class: "empty" },
        h("a", { class: "back", href: "#/" }, "\u2190 Runs"),
        h("h1", {}, "No such page"),
        h("p", {}, text),
      ),
    );
}

// The token

function askForToken(error) {
  const box = at("token");
  if (!box.hidden && box.contains(document.activeElement)) return;
  box.replaceChildren(
    ...tokenForm(error, () => {
      box.hidden = true;
      start();
    }),
  );
  box.hidden = false;
  at("forget").hidden = !token.get();
  at("main").replaceChildren();
  list.drawn = null;
  emptyList("");
}

at("forget").addEventListener("click", () => {
  token.forget();
  // Nothing of what the token opened stays on the page.
  location.reload();
});

// The list

function drawList() {
  const { run: chosen, project, status } = address();
  // A list drawn anew under the pointer would swallow the click.
  const now = JSON.stringify([
    chosen,
    project,
    status,
    list.loaded,
    list.next,
    list.runs.map((run) => [run.id, run.revision]),
    list.unreadable,
  ]);
  if (now === list.drawn) return;
  list.drawn = now;
  const nodes = list.runs.map((run) => {
    const gain = run.evaluation?.gains.find((each) => each.over === "base");
    const spent = ended(run) ? seconds(since(run.created_at, endOf(run))) : running("duration", run.created_at);
    return h(
      "li",
      {},
      h(
        "a",
        {
          href: addressOf(run.id, { project, status }),
          "data-id": run.id,
          "aria-current": run.id === chosen ? "page" : null,
        },
        h("span", { class: "row" }, h("b", {}, run.project), badge(run.status)),
        h(
          "span",
          { class: "row quiet" },
          h("span", {}, running("age", run.created_at), " \u00b7 ", spent),
          h(
            "span",
            {},
            gain
              ? `gain ${gain.mean < 0 ? "\u2212" : "+"}${Math.abs(gain.mean).toFixed(3)}`
              : run.dataset.path.split("/").at(-1),
          ),
        ),
      ),
    );
  });
  nodes.push(
    ...list.unreadable.map((one) =>
      h(
        "li",
        { class: "unreadable quiet" },
        h("b", {}, one.partition),
        ` cannot be shown. ${one.problem}. `,
        h("code", {}, `droptune dlq release ${one.partition}`),
        " repairs it.",
      ),
    ),
  );
  const focused = document.activeElement?.dataset?.id;
  at("runs").replaceChildren(...nodes);
  if (focused)
    at("runs")
      .querySelector(`[data-id="${CSS.escape(focused)}"]`)
      ?.focus();
  at("older").hidden = !list.next;
  at("projects").replaceChildren(
    ...[...new Set(list.runs.map((run) => run.project))].sort().map((name) => h("option", { value: name })),
  );
  const filtered = project || status;
  emptyList(
    nodes.length || !list.loaded ? "" : filtered ? "No run matches the filter." : "No runs yet.",
    Boolean(nodes.length),
  );
}

function emptyList(text, keep = false) {
  if (!keep) at("runs").replaceChildren();
  at("no-runs").textContent = text;
  at("no-runs").hidden = !text;
}

async function ask(limit, after, signal) {
  const { project, status } = address();
  const query = new URLSearchParams({
    limit,
    ...(project && { project }),
    ...(status && { status }),
    ...(after && { after }),
  });
  return (await call(`/api/runs?${query}`, { signal })).body;
}

// The newest page again; what was loaded beyond it stays below.
async function refresh(signal) {
  const limit = Math.min(LONGEST_PAGE, Math.max(PAGE, list.runs.length));
  const { data, unreadable, next } = await ask(limit, null, signal);
  if (signal.aborted) return LIST_EVERY_MS;
  const fresh = new Set(data.map((run) => run.id));
  const oldest = data.at(-1)?.created_at;
  const beyond = next ? list.runs.filter((run) => !fresh.has(run.id) && run.created_at <= oldest) : [];
  list.runs = [...data, ...beyond];
  const seen = new Set([...fresh, ...unreadable.map((one) => one.partition)]);
  const older = beyond.length ? list.unreadable.filter((one) => !seen.has(one.partition)) : [];
  list.unreadable = [...unreadable, ...older];
  if (!beyond.length) list.next = next;
  list.loaded = true;
  drawList();
  if (!page.id) drawHome();
  return LIST_EVERY_MS;
}

at("older").addEventListener("click", async () => {
  const { signal } = list.stop;
  at("older").disabled = true;
  try {
    const { data, unreadable, next } = await ask(PAGE, list.next, signal);
    if (signal.aborted) return;
    const known = new Set(list.runs.map((run) => run.id));
    list.runs = [...list.runs, ...data.filter((run) => !known.has(run.id))];
    list.unreadable = [...list.unreadable, ...unreadable];
    list.next = next;
    drawList();
  } catch (error) {
    if (!signal.aborted) say("list", `Older runs could not be read: ${error.message}`);
  } finally {
    at("older").disabled = false;
  }
});

function startList() {
  list.stop?.abort();
  list.stop = new AbortController();
  Object.assign(list, { runs: [], unreadable: [], next: null, loaded: false, drawn: null });
  loop("list", list.stop.signal, () => refresh(list.stop.signal));
}

for (const id of ["project", "status"]) {
  at(id).addEventListener("change", () => {
    location.hash = addressOf(address().run, { project: at("project").value.trim(), status: at("status").value });
  });
}
at("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  at("project").blur();
});
at("status").append(
  h("option", { value: "" }, "all"),
  ...STATUSES.map((status) => h("option", { value: status }, words(status))),
);

// No run chosen

function drawHome() {
  const filtered = address().project || address().status;
  const empty = list.loaded && !list.runs.length && !filtered;
  if (at("main").dataset.home === String(empty)) return;
  at("main").dataset.home = String(empty);
  document.title = "Droptune";
  at("main").replaceChildren(home(empty));
}

// A run

function startRun(id) {
  page.stop?.abort();
  page = { id, stop: new AbortController() };
  delete at("main").dataset.home;
  for (const name of ["run", "metrics"]) say(name, null);
  if (!id) {
    drawHome();
    return;
  }
  const { signal } = page.stop;
  const state = { run: null, metrics: null, report: null, samples: null, base: null, endpoint: undefined };
  const path = `/api/runs/${encodeURIComponent(id)}`;
  let view = null;
  let etag = null;
  let measured = false;
  at("main").replaceChildren(h("p", { class: "empty quiet" }, "Asking for the run\u2026"));

  const show = () => {
    view ??= new RunPage(at("main"), {
      onCancel: () => confirmCancel(state, show),
      onPreview: () => askForPreview(state, path, signal, show),
      onRows: (change, after) => askForRows(state, path, signal, show, change, after),
      tokenInUse: () => Boolean(token.get()),
    });
    view.show(state);
    document.title = `${state.run.project}: ${words(state.run.status)} \u2013 Droptune`;
    page.loadRows();
  };
  page.loadRows = () => {
    if (address().view === "evaluation" && state.run?.evaluation && !state.rows)
      askForRows(state, path, signal, show, "worse", 0);
  };

  // Each is asked for once, when the run says that it is there. False: the platform did not give it, ask again.
  const extras = async (run) => {
    try {
      if (run.validation && !state.report) state.report = (await call(`${path}/report`, { signal })).body;
      if (run.evaluation && !state.samples) state.samples = (await call(`${path}/evaluation`, { signal })).body.samples;
      const base = run.recipe?.requested.base_model;
      if (base && !state.base) state.base = (await call(`/api/base-models/${encodeURI(base)}`, { signal })).body;
      const endpoint = run.status === "deployed" && run.rollout?.endpoint;
      if (endpoint && state.endpoint === undefined) {  // it may be deleted, which is no error
        const { data } = (await call("/api/endpoints", { signal })).body;
        state.endpoint = data.find((one) => one.endpoint === endpoint) ?? null;
      }
    } catch (error) {
      if (!(error instanceof Refused) || error.status === 401) throw error;
      return error.status < 500;
    }
    return true;
  };

  const metrics = async () => {
    const last = !["training", "evaluating"].includes(state.run.status);
    let again = last ? null : METRICS_EVERY_MS;
    try {
      const { body } = await call(`${path}/metrics`, { signal });
      state.metrics = body;
      state.metricsProblem = null;
    } catch (error) {
      if (!(error instanceof Refused) || error.status === 401 || signal.aborted) throw error;
      // The platform that holds the curve does not answer; this API is not at fault.
      state.metricsProblem = `${error.problem.code}: ${error.problem.message}`;
      if (error.status >= 500) again = METRICS_AGAIN_MS;
    }
    if (signal.aborted) return null;
    show();
    return again;
  };

  loop("run", signal, async () => {
    // The first poll after a fault does not wait, so that recovery shows at once.
    const answer = await call(path, { etag, waitS: etag && !troubled.has("run") ? WAIT_S : 0, signal });
    if (signal.aborted) return null;
    if (answer.body) {
      state.run = answer.body;
      etag = answer.etag;
      show();
      list.runs = list.runs.map((run) => (run.id === id ? state.run : run));
      drawList();
      if (!measured && state.run.jobs.some((job) => job.kind === "training")) {
        measured = true;
        loop("metrics", signal, metrics);
      }
    }
    const complete = await extras(state.run);
    if (signal.aborted) return null;
    show();
    return ended(state.run) && complete ? null : AT_LEAST_MS;
  });
}

// Only when somebody wants to look: the rows are read and rendered for it.
async function askForPreview(state, path, signal, show) {
  try {
    state.preview = (await call(`${path}/preview`, { signal })).body.data;
  } catch (error) {
    if (signal.aborted) return;
    state.previewProblem =
      error instanceof Refused ? `${error.problem.code}: ${error.problem.message}` : "the API does not answer";
  }
  if (!signal.aborted) show();
}

// Held-out rows of one kind; a further page is put behind those that are shown.
async function askForRows(state, path, signal, show, change, after) {
  const before = after && state.rows.change === change ? state.rows.data : [];
  state.rows = { ...state.rows, change, data: after ? before : undefined, next: null, problem: null };
  show();
  const query = new URLSearchParams({ change, after });
  try {
    const { body } = await call(`${path}/evaluation/rows?${query}`, { signal });
    if (state.rows.change !== change) return;
    state.rows = { change, counts: body.counts, data: [...before, ...body.data], next: body.next, problem: null };
  } catch (error) {
    if (signal.aborted) return;
    state.rows = {
      ...state.rows,
      problem: error instanceof Refused ? `${error.problem.code}: ${error.problem.message}` : "the API does not answer",
    };
  }
  if (!signal.aborted) show();
}

function confirmCancel(state, show) {
  const dialog = at("confirm");
  at("confirm-text").textContent =
    `${state.run.project}, ${state.run.id}, is ${words(state.run.status)}. Its job is stopped and what it has trained is not used.`;
  at("confirm-no").onclick = () => dialog.close();
  at("confirm-yes").onclick = async () => {
    dialog.close();
    try {
      await call(`/api/runs/${encodeURIComponent(state.run.id)}/cancel`, { method: "POST" });
      Object.assign(state, { cancelRequested: true, cancelProblem: null });
    } catch (error) {
      state.cancelProblem =
        error instanceof Refused ? `${error.problem.code}: ${error.problem.message}` : "the API does not answer";
    }
    if (page.id === state.run.id) show();
  };
  dialog.showModal();
}

// Start

let filters = null;

function route() {
  const { run, view, project, status } = address();
  document.body.classList.toggle("one", Boolean(run));
  for (const each of ["report", "evaluation"]) document.body.classList.toggle(`${each}-only`, view === each);
  at("project").value = project;
  at("status").value = STATUSES.includes(status) ? status : "";
  if (filters !== `${project}\n${status}`) {
    filters = `${project}\n${status}`;
    startList();
  }
  if (page.stop === null || page.id !== run) {
    startRun(run);
    if (run) scrollTo(0, 0);
  } else page.loadRows?.();
  drawList();
}

function start() {
  filters = null;
  page.stop?.abort();
  page = { id: null, stop: null };
  at("forget").hidden = !token.get();
  route();
}

// The address names the run, so the jump past the list is no link of its own.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  at("main").focus();
});
addEventListener("hashchange", route);
setInterval(() => {
  if (!document.hidden) document.querySelectorAll("[data-from]").forEach(tick);
}, 1000);
start();
