/**
 * Carillon's HTTP API for JavaScript: Node 20 or later, and browsers. An ES module without dependencies.
 *
 * Every event bears an idempotency key, so every call may be repeated. It is, when the gateway answers 429 or 503, a
 * proxy 502 or 504, or the connection is lost: after Retry-After, or a pause that grows, with jitter, while the budget
 * lasts. `carillon.d.ts` says what each call takes and gives.
 */

const BODY_BYTES_MAX = 256 * 1024; // the gateway's bound; longer lists go in several bodies
const AGAIN = new Set([0, 429, 502, 503, 504]);
const PAUSE_MAX_MS = 5_000;
const NDJSON = "application/x-ndjson";
const utf8 = new TextEncoder();

export class CarillonError extends Error {
  constructor(problem) {
    const wrong = (problem.errors ?? []).map((error) => `; ${error.path} ${error.problem}`).join("");
    super(`${problem.status} ${problem.title}: ${problem.detail}${wrong}`);
    this.name = "CarillonError";
    this.problem = problem;
  }
}

export function keyed(event) {
  return { ...event, idempotency_key: event.idempotency_key || crypto.randomUUID() };
}

export class Client {
  #url;
  #key;
  #budgetMs;
  #timeoutMs;

  constructor(url, key, { budgetMs = 30_000, timeoutMs = 10_000 } = {}) {
    this.#url = new URL(url, globalThis.location).href.replace(/\/$/, "");
    this.#key = key;
    this.#budgetMs = budgetMs;
    this.#timeoutMs = timeoutMs;
  }

  send(event) {
    return this.#ask("POST", ["notifications"], { body: keyed(event) });
  }

  async sendBatch(events) {
    const lines = Array.from(events, (event) => JSON.stringify(keyed(event)));
    const answers = new Array(lines.length).fill(null);
    let waiting = [...lines.keys()];
    let patience = new Patience(this.#budgetMs);
    while (waiting.length > 0) {
      const places = fitting(lines, waiting);
      const body = places.map((place) => lines[place]).join("\n");
      const { problem, document } = await this.#request("POST", ["notifications", "batch"], { lines: body });
      places.forEach((place, number) => (answers[place] = problem ?? document[number]));
      const again = places.filter((place) => AGAIN.has(answers[place].status));
      waiting = again.concat(waiting.slice(places.length));
      if (again.length < places.length) patience = new Patience(this.#budgetMs);
      const late = again.length > 0 ? answers[again.at(-1)] : problem;
      if (!late || late.status === 413) continue;
      const pause = patience.pause(late);
      if (pause === null) return answers.map((answer) => answer ?? late);
      await sleep(pause);
    }
    return answers;
  }

  async putFollows(follows) {
    const lines = Array.from(follows, (follow) => JSON.stringify(follow));
    let waiting = [...lines.keys()];
    let stored = 0;
    while (waiting.length > 0) {
      const places = fitting(lines, waiting);
      const body = places.map((place) => lines[place]).join("\n");
      stored += (await this.#ask("POST", ["follows"], { lines: body })).stored;
      waiting = waiting.slice(places.length);
    }
    return stored;
  }

  putSegment(segment, users) {
    const lines = Array.from(users, (user) => JSON.stringify(user)).join("\n");
    return this.#ask("PUT", ["segments", segment], lines ? { lines } : { body: [] }); // only a list can be empty
  }

  progress = (eventId) => this.#ask("GET", ["notifications", eventId]);
  cancel = (eventId) => this.#ask("DELETE", ["notifications", eventId]);
  turnRollout = (eventId, body) => this.#ask("POST", ["notifications", eventId, "rollout"], { body });
  putUser = (user, body) => this.#ask("PUT", ["users", user], { body });
  deleteUser = (user) => this.#ask("DELETE", ["users", user]);
  putEndpoint = (user, channel, id, body) => this.#ask("PUT", ["users", user, "endpoints", channel, id], { body });
  deleteEndpoint = (user, channel, id) => this.#ask("DELETE", ["users", user, "endpoints", channel, id]);
  endpoints = (user) => this.#ask("GET", ["users", user, "endpoints"]);
  inbox = (query) => this.#ask("GET", ["notifications", "inbox"], { query });
  streamTicket = () => this.#ask("POST", ["notifications", "inbox", "stream", "ticket"]);
  read = (body) => this.#ask("POST", ["notifications", "inbox", "read"], { body });
  unreadInbox = (body) => this.#ask("POST", ["notifications", "inbox", "unread"], { body });
  archiveInbox = (body) => this.#ask("POST", ["notifications", "inbox", "archive"], { body });
  postFeedback = (body) => this.#ask("POST", ["notifications", "feedback"], { body });
  preferences = () => this.#ask("GET", ["preferences"]);
  preferenceTypes = (query) => this.#ask("GET", ["preferences", "types"], { query });
  putPreferences = (body) => this.#ask("PUT", ["preferences"], { body });
  patchPreferences = (body) => this.#ask("PATCH", ["preferences"], { body });
  linkPreferences = (user, body) => this.#ask("POST", ["users", user, "preferences-link"], { body });
  linkOwnPreferences = (body) => this.#ask("POST", ["preferences", "link"], { body });
  registerDevice = (body) => this.#ask("POST", ["devices", "register"], { body });
  devices = () => this.#ask("GET", ["devices"]);
  deleteDevice = (deviceId) => this.#ask("DELETE", ["devices", deviceId]);

  async #ask(method, path, given) {
    const patience = new Patience(this.#budgetMs);
    for (;;) {
      const { problem, document } = await this.#request(method, path, given);
      if (!problem) return document;
      const pause = patience.pause(problem);
      if (pause === null) throw new CarillonError(problem);
      await sleep(pause);
    }
  }

  /** One request: the document of its answer, or the problem. */
  async #request(method, path, { body, lines, query = {} } = {}) {
    const asked = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
    const search = asked.length > 0 ? `?${new URLSearchParams(asked)}` : "";
    const headers = { authorization: `Bearer ${this.#key}` };
    if (lines || body !== undefined) headers["content-type"] = lines ? NDJSON : "application/json";
    const content = lines || (body === undefined ? undefined : JSON.stringify(body));
    try {
      const answer = await fetch(`${this.#url}/${path.map(encodeURIComponent).join("/")}${search}`, {
        method,
        headers,
        body: content,
        signal: AbortSignal.timeout(this.#timeoutMs),
      });
      const text = await answer.text();
      if (answer.ok) return { document: text ? JSON.parse(text) : undefined };
      return { problem: problemOf(answer, text) };
    } catch (error) {
      const detail = `${error.name}: ${error.cause?.message || error.message}`; // Node has the reason in the cause
      return { problem: { type: "about:blank", title: "No answer", status: 0, detail } };
    }
  }
}

/** When to send again, and until when. */
class Patience {
  #failures = 0;
  #end;

  constructor(budgetMs) {
    this.#end = performance.now() + budgetMs;
  }

  /** Milliseconds to wait; null if the problem would not pass, or not in time. */
  pause(problem) {
    this.#failures += 1;
    const asked = problem.retry_after_ms ?? 0;
    const pause = asked + Math.random() * Math.max(asked / 2, Math.min(PAUSE_MAX_MS, 100 * 2 ** this.#failures));
    return AGAIN.has(problem.status) && performance.now() + pause <= this.#end ? pause : null;
  }
}

/** What is wrong; not every proxy gives a problem document. */
function problemOf(answer, text) {
  const problem = { type: "about:blank", title: answer.statusText, status: answer.status, detail: "no more is known" };
  const seconds = answer.headers.get("retry-after");
  if (/^\d+$/.test(seconds ?? "")) problem.retry_after_ms = Number(seconds) * 1_000;
  const isDocument = answer.headers.get("content-type")?.startsWith("application/problem+json");
  return isDocument ? { ...problem, ...JSON.parse(text) } : problem;
}

/** The first of those that wait, as many as one body holds, but one at least. */
function fitting(lines, waiting) {
  let size = -1;
  const end = waiting.findIndex((place) => (size += 1 + utf8.encode(lines[place]).length) > BODY_BYTES_MAX);
  return waiting.slice(0, end < 0 ? waiting.length : Math.max(1, end));
}

function sleep(ms) {
  return new Promise((resume) => setTimeout(resume, ms));
}
