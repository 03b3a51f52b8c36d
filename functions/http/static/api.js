// Calls of the API: a token if there is one, and one place that knows whether the API answers.

const TOKEN = "droptune-token";
const SLACK_MS = 20_000;

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.message);
    this.status = status;
    this.problem = problem;
  }
}

export class Unreachable extends Error {}

// The tab's own storage: gone when the tab is closed, never seen by another one.
export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (value) => sessionStorage.setItem(TOKEN, value),
  forget: () => sessionStorage.removeItem(TOKEN),
};

// Returns {status, etag, body}; 304 has no body. Throws Refused or Unreachable, or AbortError once `signal` is aborted.
export async function call(path, { method = "GET", etag, waitS = 0, signal } = {}) {
  const headers = { Accept: "application/json" };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  if (etag) headers["If-None-Match"] = etag;
  const late = AbortSignal.timeout(waitS * 1000 + SLACK_MS);
  const url = waitS ? `${path}?wait_s=${waitS}` : path;
  let answer, body;
  try {
    answer = await fetch(url, {
      method,
      headers,
      cache: "no-store",
      credentials: "same-origin",
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
    body = answer.status === 304 ? null : await answer.json();
  } catch (error) {
    if (signal?.aborted) throw error;
    // A crash answers without a body, and a proxy before an app that is away with a page of its own.
    if (!answer || answer.ok || answer.status > 500) throw new Unreachable(error.message);
  }
  if (answer.status >= 400) {
    const bare = { code: `http_${answer.status}`, message: "the API gave no reason" };
    throw new Refused(answer.status, body?.error?.code ? body.error : bare);
  }
  return { status: answer.status, etag: answer.headers.get("ETag"), body };
}

// Sleeps, but not past an abort.
export function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });
}

// A hidden tab asks nothing: six of them would use up the browser's connections to one host.
export async function visible(signal) {
  while (document.hidden && !signal?.aborted) {
    await new Promise((resolve) => {
      document.addEventListener("visibilitychange", resolve, { once: true });
      signal?.addEventListener("abort", resolve, { once: true });
    });
  }
}

export const backoff = (failures) => Math.min(15_000, 1000 * 2 ** (failures - 1));
