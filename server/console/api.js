// Calls of the interface, with the key that the user gave. The key is kept for this tab and never stands in a URL.

import { parse } from "./json.js";

const KEPT = "tidings.key";
const MEDIA_TYPE = "application/vnd.api+json";
/** How long an answer is waited for. */
const PATIENCE = 20_000;

/** What every call begins with, beside the page: so it works below any path. */
export const BASE = new URL("api/rest/v1.0/", document.baseURI);

/** What went wrong, in words for people. */
export class Failure extends Error {
  constructor(text, { status = 0, errors = [], aborted = false } = {}) {
    super(text);
    Object.assign(this, { status, errors, aborted });
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEPT),
  set: (value) => sessionStorage.setItem(KEPT, value),
  forget: () => sessionStorage.removeItem(KEPT),
};

/** Called when the server no longer knows the key. */
let refused = () => {};
export function whenRefused(call) {
  refused = call;
}

function words(status, errors, retryAfter) {
  const [first] = errors;
  if (status === 401) return "The server does not know this key. It may have been revoked.";
  if (status === 403) return `This key may not do that${first?.detail ? `: ${first.detail}` : "."}`;
  if (status === 429) return `${sentence(first)}${retryAfter ? ` Try again in ${retryAfter} seconds.` : ""}`;
  if (status === 503) return `The server is busy, or its database does not answer. ${first?.detail ?? ""}`.trim();
  if (status >= 500) return `The server, or something before it, failed (${status}). Look again before you repeat it.`;
  return first ? sentence(first) : `The server answered with status ${status}.`;
}

const sentence = (error) => {
  const text = error?.detail || error?.title || "The server refused it";
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
};

/** The text of an error object, for the place where it belongs. */
export const told = sentence;

/** One call. Answers the document, or null where there is none.
 *  `query`: pairs; `wait`: seconds for which the server may wait; `exact`: numbers too long for JavaScript are kept. */
export async function call(
  method,
  path,
  { query, body, signal, wait, patience = PATIENCE, exact, withKey, media } = {},
) {
  const url = new URL(path, BASE);
  for (const [name, value] of query ?? []) url.searchParams.append(name, value);
  const headers = { accept: MEDIA_TYPE, "x-api-key": withKey ?? key.get() ?? "" };
  if (body !== undefined) headers["content-type"] = media ?? "application/json";
  if (wait) headers.prefer = `wait=${wait}`;
  const late = AbortSignal.timeout(patience + (wait ?? 0) * 1000);
  const signals = signal ? [signal, late] : [late];
  try {
    const answer = await fetch(url, {
      method,
      headers,
      signal: AbortSignal.any(signals),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    if (answer.ok) return text === "" ? null : exact ? parse(text) : JSON.parse(text);
    let errors = [];
    try {
      errors = JSON.parse(text).errors ?? [];
    } catch {
      /* Not from this server: its status says enough. */
    }
    if (answer.status === 401 && withKey === undefined) refused();
    throw new Failure(words(answer.status, errors, answer.headers.get("retry-after")), {
      status: answer.status,
      errors,
    });
  } catch (error) {
    if (error instanceof Failure) throw error;
    if (signal?.aborted) throw new Failure("It was left.", { aborted: true });
    if (late.aborted) throw new Failure(`The server did not answer within ${Math.round(patience / 1000)} seconds.`);
    if (error instanceof SyntaxError) throw new Failure("What answered is not a Tidings server: it sent no JSON.");
    throw new Failure("The server can't be reached. Is it running, and are you connected?");
  }
}

export const get = (path, options) => call("GET", path, options);
export const post = (path, body, options) => call("POST", path, { ...options, body });
export const patch = (path, body, options) => call("PATCH", path, { ...options, body });
export const remove = (path, options) => call("DELETE", path, options);

/** The cursor of a link to another page: `["page[after]", "17"]`, or null. */
export function cursor(link) {
  if (!link) return null;
  const parameters = new URL(link, BASE).searchParams;
  for (const name of ["page[after]", "page[before]"]) if (parameters.has(name)) return [name, parameters.get(name)];
  return null;
}

/** The largest id there is; "0" where there is none. */
export async function newest(signal) {
  const page = await get("notifications", {
    signal,
    query: [
      ["filter[isDismissed]", "true,false"],
      ["page[size]", "1"],
      ["include", ""],
      ["fields[notification]", "type"],
    ],
  });
  return page.data[0]?.id ?? "0";
}
