// What is done to notifications: flags, pushing again, and jobs with their progress. It goes on, and can be taken back,
// wherever one is in the console.

import { Failure, get, newest, post, remove } from "./api.js";
import { fillWith, h, newId } from "./dom.js";
import { announce, ask, button, complain, toast } from "./parts.js";
import { count, many } from "./words.js";

/** The most that one atomic request, and one job with ids, may name. */
const AT_ONCE = 1000;
/** The most for which the console remembers what to put back. */
const REMEMBERED = 10_000;
/** How often a job may fail to answer before it is said. */
const PATIENCE = 5;

/** What is done with a flag, and what was, when it is set and when it is taken off. */
const FLAGS = {
  isRead: [
    ["Marking as read", "read"],
    ["Marking as unread", "unread"],
  ],
  isFlagged: [
    ["Flagging", "flagged"],
    ["Taking the flag off", "unflagged"],
  ],
  isDismissed: [
    ["Dismissing", "dismissed"],
    ["Putting back", "put back"],
  ],
};

function flagWords(set) {
  const [[flag, value]] = Object.entries(set);
  return FLAGS[flag][value ? 0 : 1];
}

/** The last change that can be taken back: how, and what closes the message that offers it. */
let last = null;

/** The change that is under way: only when it is answered can it be taken back. */
let underWay = Promise.resolve();

/** Takes the last change of flags back, if there is one. */
export async function undo() {
  await underWay;
  if (!last) return announce("There is nothing to undo");
  const { back, close } = last;
  last = null;
  close();
  return back();
}

/** Forgets what could be taken back: of another key it would be wrong. */
export function forget() {
  last?.close();
  last = null;
}

function undoable(text, back) {
  // Only the last one is offered.
  last?.close();
  announce(`${text}. Z takes it back.`);
  last = { back, close: toast(text, { action: "Undo", stays: 12000, onaction: undo }) };
}

function operations(changes) {
  const update = ([id, attributes]) => ({ op: "update", data: { type: "notification", id, attributes } });
  const media = 'application/vnd.api+json; ext="https://jsonapi.org/ext/atomic"';
  return post("operations", { "atomic:operations": changes.map(update) }, { media });
}

/** Sets flags of these notifications, and offers to take it back. `apply(id, flags)` shows it at once; it is shown as it
 *  was again if the server refuses. */
export function setFlags(items, set, apply = () => {}) {
  const change = changeFlags(items, set, apply);
  underWay = change.catch(() => {});
  return change;
}

async function changeFlags(items, set, apply) {
  const [flag] = Object.keys(set);
  const changed = items.filter((item) => item.attributes[flag] !== set[flag]);
  const [, done] = flagWords(set);
  if (changed.length === 0) return toast(`Already ${done}`);
  const before = changed.map((item) => [item.id, { [flag]: item.attributes[flag] }]);
  const show = (changes) => changes.forEach(([id, flags]) => apply(id, flags));
  const send = async (changes, otherwise) => {
    show(changes);
    try {
      for (let at = 0; at < changes.length; at += AT_ONCE) await operations(changes.slice(at, at + AT_ONCE));
      return true;
    } catch (error) {
      show(otherwise);
      complain(error);
      return false;
    }
  };
  const after = changed.map((item) => [item.id, set]);
  if (!(await send(after, before))) return false;
  const text =
    changed.length === 1 ? `Number ${changed[0].id} ${done}` : `${many(changed.length, "notification")} ${done}`;
  undoable(text, async () => {
    if (await send(before, after)) toast("Taken back");
  });
  return true;
}

/** Pushes these again. */
export function repush(ids, ondone) {
  return job(
    { action: "repush", ids },
    { doing: `Pushing ${many(ids.length, "notification")} again`, did: "Put in the queue again", ondone },
  );
}

/** How many a filter matches. */
export async function counted(action, set, filter, upTo, signal) {
  const attributes = { action, filter, upTo, dryRun: true };
  if (action === "update") attributes.set = set;
  if (Object.keys(filter).length === 0) attributes.all = true;
  if (upTo === "0") return 0;
  let { data } = await post("jobs", { data: { type: "job", attributes } }, { signal });
  const until = Date.now() + 60_000;
  for (let pause = 50; !data.attributes.endedAt; pause = Math.min(pause * 2, 1000)) {
    if (Date.now() > until) throw new Failure("Counting takes more than a minute. Search for fewer, or try again later.");
    await new Promise((resolve) => setTimeout(resolve, pause));
    ({ data } = await get(`jobs/${data.id}`, { signal }));
  }
  return data.attributes.total ?? data.attributes.processed;
}

/** Pushes all that a filter matches again, through the sequence `before` or the newest, after it was counted and agreed to. */
export async function repushAll(filter, what, ondone, before) {
  try {
    const upTo = before ?? (await newest());
    const total = await counted("repush", undefined, filter, upTo);
    if (!total) return toast("Nothing matches any more");
    const agreed = await ask({
      title: `Push ${many(total, "notification")} again?`,
      agree: `Push ${count(total)} again`,
      body: [
        h("p", {}, `${what} They go into the queue, oldest first, whatever became of their push before.`),
        h("p", { class: "quiet" }, "What arrives from now on is not touched."),
      ],
    });
    if (!agreed) return null;
    const attributes = { action: "repush", filter, upTo };
    if (Object.keys(filter).length === 0) attributes.all = true;
    return await job(attributes, {
      doing: `Pushing ${many(total, "notification")} again`,
      did: "Put in the queue again",
      ondone,
    });
  } catch (error) {
    return complain(error);
  }
}

/** Sets a flag of all that a filter matches. Of up to 10,000 it is remembered which were changed, so that exactly these can
 *  be put back. */
export async function setAll(filter, set, upTo, total, ondone) {
  const [[flag, value]] = Object.entries(set);
  const [does, done] = flagWords(set);
  const [doing, did] = [`${does}: ${many(total, "notification")}`, `Now ${done}`];
  try {
    if (total > REMEMBERED) {
      const agreed = await ask({
        title: `${does}: all ${count(total)}?`,
        agree: `Yes, all ${count(total)}`,
        tone: "danger",
        body: h("p", {}, `These are more than ${count(REMEMBERED)}: it can't be taken back with one key afterwards.`),
      });
      if (!agreed) return null;
      const attributes = { action: "update", set, filter, upTo };
      if (Object.keys(filter).length === 0) attributes.all = true;
      return await job(attributes, { doing, did, ondone });
    }
    const ids = await matching(filter, flag, value, upTo);
    if (ids.length === 0) return toast(`Already ${done}`);
    const back = () =>
      job({ action: "update", set: { [flag]: !value }, ids }, { doing: "Taking it back", did: "Taken back", ondone });
    return await job({ action: "update", set, ids }, { doing, did, ondone, back });
  } catch (error) {
    return complain(error);
  }
}

/** The ids of all that match and whose flag differs. */
async function matching(filter, flag, value, upTo) {
  const name = `filter[${flag}]`;
  const asked = { "filter[isDismissed]": "true,false", ...filter };
  if (asked[name] === String(value)) return [];
  const query = Object.entries({
    ...asked,
    [name]: String(!value),
    sort: "sequence",
    "page[size]": "1000",
    "fields[notification]": "type",
    include: "",
  });
  const ids = [];
  for (let after = "0"; after !== null && ids.length < REMEMBERED;) {
    const page = await get("notifications", { query: [...query, ["page[after]", after]] });
    const fit = page.data.map((item) => item.id).filter((id) => Number(id) <= Number(upTo));
    ids.push(...fit);
    after = page.links.next && fit.length === page.data.length ? page.meta.page.after : null;
  }
  return ids.slice(0, REMEMBERED);
}

/** Starts a job and shows how far it is until it has ended. */
export async function job(attributes, words) {
  try {
    const { data } = await post("jobs", { data: { type: "job", attributes } });
    announce(words.doing);
    return watch(data, words);
  } catch (error) {
    return complain(error);
  }
}

/** Shows how far a job is. */
export function watch(first, { doing, did, ondone = () => {}, back }) {
  const id = newId("job");
  const bar = h("progress", { "aria-labelledby": id });
  const state = h("span", { class: "quiet" }, "Waiting to begin");
  const cancel = button("Cancel", { kind: "small", onclick: () => remove(`jobs/${first.id}`).catch(complain) });
  const strip = h(
    "div",
    { class: "job", "data-job": first.id },
    h("div", { class: "job-text" }, h("strong", { id }, doing), state),
    bar,
    cancel,
  );
  document.getElementById("jobs").append(strip);
  const show = ({ total, processed }) => {
    if (total === null) return;
    bar.max = Math.max(total, 1);
    bar.value = processed;
    fillWith(state, `${count(processed)} of ${count(total)}`);
  };
  const end = ({ state: how, processed, failed }) => {
    strip.remove();
    const kept = failed ? `; ${count(failed)} were not there any more` : "";
    const text =
      how === "cancelled" ? `Cancelled after ${count(processed)}` : `${did}: ${count(processed - failed)}${kept}`;
    if (back && how === "done") undoable(text, back);
    else {
      announce(text);
      toast(text);
    }
    ondone();
  };
  const run = async () => {
    let misses = 0;
    for (let data = first, pause = 100; ; pause = Math.min(pause * 1.5, 1500)) {
      show(data.attributes);
      if (data.attributes.endedAt) return end(data.attributes);
      await new Promise((resolve) => setTimeout(resolve, pause));
      try {
        ({ data } = await get(`jobs/${first.id}`));
        misses = 0;
      } catch (error) {
        misses += 1;
        if (misses < PATIENCE) continue;
        return fillWith(
          strip,
          h(
            "div",
            { class: "job-text" },
            h("strong", {}, doing),
            h("span", {}, `${error.message} The job goes on by itself.`),
          ),
          button("Look again", {
            kind: "small",
            onclick: () => {
              strip.remove();
              watch(data, { doing, did, ondone, back });
            },
          }),
          button("Hide", { kind: "small", onclick: () => strip.remove() }),
        );
      }
    }
  };
  return run();
}
