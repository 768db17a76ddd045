// What arrives while one looks: the server is asked to wait for it. While the page is hidden nobody asks.

import { get } from "./api.js";

/** Waits that get longer while the server can't be reached, in milliseconds. */
const AGAIN = [1000, 3000, 10_000, 30_000];
/** How long the server waits for something new, in seconds. */
const WAIT = 30;

const pause = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });

const seen = (signal) =>
  new Promise((resolve) => {
    if (!document.hidden) return resolve();
    document.addEventListener("visibilitychange", () => resolve(), { once: true, signal });
    return signal.addEventListener("abort", () => resolve(), { once: true });
  });

/** Follows a list from behind `after`. `take(page)` gets what has come; `tell(text)` what is wrong, or "".
 *  Ends with true when the list is to be read anew. */
export async function follow(filter, after, take, tell, signal) {
  let cursor = after,
    misses = 0;
  while (!signal.aborted) {
    await seen(signal);
    if (signal.aborted) break;
    const hidden = new AbortController();
    const hide = () => document.hidden && hidden.abort();
    document.addEventListener("visibilitychange", hide);
    try {
      const query = [...Object.entries(filter), ["sort", "sequence"], ["page[size]", "100"], ["page[after]", cursor]];
      const page = await get("notifications", { query, wait: WAIT, signal: AbortSignal.any([signal, hidden.signal]) });
      if (misses > 0) tell("");
      misses = 0;
      cursor = page.meta.page.after;
      if (page.data.length > 0) take(page);
    } catch (error) {
      if (signal.aborted) break;
      if (!error.aborted) {
        // What stood at the cursor has expired.
        if (error.status === 410) return true;
        tell(error.message);
        await pause(AGAIN[Math.min(misses, AGAIN.length - 1)], signal);
        misses += 1;
      }
    } finally {
      document.removeEventListener("visibilitychange", hide);
    }
  }
  return false;
}
