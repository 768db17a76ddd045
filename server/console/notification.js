// One notification: what was pushed, what came of each attempt, and when the next one is due.

import { repush, setFlags, undo } from "./actions.js";
import { BASE, get } from "./api.js";
import { fillWith, h } from "./dom.js";
import { qualifier } from "./filters.js";
import { icon } from "./icons.js";
import { inline, print } from "./json.js";
import { lastList } from "./notifications.js";
import { badge, button, code, copy, empty, head, load } from "./parts.js";
import { go, href } from "./router.js";
import { at, countdown, milliseconds, since } from "./time.js";
import { ERRORS, PUSH, REASONS, nameOf, typeName } from "./words.js";

/** How often it is looked at again while its push is under way, in milliseconds. */
const LOOK = 3000;

const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function notification({ place, path, session, signal }) {
  const [, id] = path;
  const isAdmin = session.role === "admin";
  let item = null;
  let timer;

  const title = head(`Number ${id}`);
  const flags = h("div", { class: "row flags", role: "group", "aria-label": "Flags" });
  const push = h("section", { class: "panel", "aria-labelledby": "push-title" });
  const facts = h("section", { class: "panel", "aria-labelledby": "facts-title" });
  const body = h("section", { class: "panel", "aria-labelledby": "json-title" });
  const content = h("div", {});
  fillWith(place, h("a", { class: "back", href: lastList, id: "back" }, icon("back"), "Notifications"), title, content);

  async function fetchAll() {
    const quiet = (error) => {
      if (error.status === 404) return null;
      throw error;
    };
    const attempts = [["page[size]", "1000"]];
    const [document, delivery, log] = await Promise.all([
      get(`notifications/${encodeURIComponent(id)}`, { exact: true, signal }),
      isAdmin ? get(`deliveries/${encodeURIComponent(id)}`, { exact: true, signal }).catch(quiet) : null,
      isAdmin ? get(`deliveries/${encodeURIComponent(id)}/attempts`, { query: attempts, signal }).catch(quiet) : null,
    ]);
    return { document, delivery, attempts: log?.data ?? [] };
  }

  async function start() {
    await load(
      content,
      async () => {
        try {
          draw(await fetchAll());
          return [flags, h("div", { class: "columns" }, h("div", {}, push, facts), body)];
        } catch (error) {
          if (error.status !== 404) throw error;
          return empty(
            "Not here",
            `There is no notification ${id}: it has expired, or never was.`,
            h("a", { class: "button", href: lastList }, "To the list"),
          );
        }
      },
      { what: "Loading the notification" },
    );
  }

  function draw({ document, delivery, attempts }) {
    item = document.data;
    const { type } = item.attributes;
    fillWith(title.querySelector("h1"), typeName(type), " ", h("span", { class: "number" }, `#${id}`));
    globalThis.document.title = `${typeName(type)} #${id} · Tidings`;
    drawFlags();
    drawFacts(document);
    drawPush(delivery, attempts);
    drawBody(document, delivery, attempts);
    clearTimeout(timer);
    if (item.meta?.push.state === "pending" && !signal.aborted) timer = setTimeout(look, LOOK);
  }

  async function look() {
    if (signal.aborted) return;
    if (document.hidden) {
      timer = setTimeout(look, LOOK);
      return;
    }
    try {
      draw(await fetchAll());
    } catch {
      timer = setTimeout(look, 3 * LOOK);
    }
  }
  signal.addEventListener("abort", () => clearTimeout(timer));

  function drawFlags() {
    const focused = flags.contains(document.activeElement) ? document.activeElement.id : null;
    const toggle = (flag, name, picture, key) => {
      const is = item.attributes[flag];
      return button(name, {
        icon: picture,
        id: flag,
        kind: is ? "on" : "",
        "aria-pressed": String(is),
        title: `${name} (${key})`,
        onclick: () => change(flag),
      });
    };
    fillWith(
      flags,
      toggle("isRead", "Read", "read", "r"),
      toggle("isFlagged", "Flagged", "flag", "f"),
      toggle("isDismissed", "Dismissed", "dismiss", "x"),
    );
    if (focused) flags.querySelector(`#${focused}`)?.focus();
  }

  const change = (flag) =>
    setFlags([item], { [flag]: !item.attributes[flag] }, (_, set) => {
      Object.assign(item.attributes, set);
      drawFlags();
    });

  const pushAgain = () => repush([id], () => look());

  function drawFacts(document) {
    const { createdAt, comment, unit, originator, change, type } = item.attributes;
    const find = (name) => {
      const data = item.relationships?.[name]?.data;
      return data && (document.included?.find((one) => one.type === data.type && one.id === data.id) ?? data);
    };
    const [entity, by] = [find("entity"), find("createdBy")];
    const link = (name, resource) =>
      h(
        "a",
        {
          href: href("notifications", { q: `is:any ${qualifier(name, resource.id)}` }),
          title: "Everything with it",
        },
        nameOf(resource),
        nameOf(resource) === resource.id ? null : h("span", { class: "quiet" }, ` ${resource.id}`),
      );
    const rows = [
      ["Type", h("code", {}, type)],
      ["Comment", comment],
      ["Happened", [at(createdAt), " · ", since(createdAt)]],
      ["Stored", at(item.meta?.receivedAt)],
      ["About", entity && link("entity", entity)],
      ["By", by && link("by", by)],
      ["Unit", unit],
      [
        "On behalf of",
        originator &&
          Object.entries(originator)
            .filter(([, value]) => value)
            .map(([name, value]) => `${name} ${inline(value)}`)
            .join(", "),
      ],
      [
        "Change",
        change &&
          `${change.type} in ${change.table}${change.recordId ? `, record ${inline(change.recordId)}` : ""}${change.columns?.length ? `: ${change.columns.join(", ")}` : ""}`,
      ],
    ];
    fillWith(
      facts,
      h("h2", { id: "facts-title" }, "What happened"),
      h(
        "dl",
        { class: "facts" },
        rows.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
      ),
    );
  }

  function drawPush(delivery, attempts) {
    const open = new Set([...push.querySelectorAll("details[open]")].map((element) => element.dataset.id));
    const hadFocus = push.contains(document.activeElement) ? document.activeElement.id : null;
    const state = item.meta?.push.state ?? "none";
    const next = item.meta?.push.nextAttemptAt;
    const known = PUSH[state] ?? PUSH.none;
    const lines = [];
    if (state === "pending" && next)
      lines.push(step("pending", "busy", [h("strong", {}, "Next attempt "), countdown(next)], []));
    else if (state === "pending") lines.push(step("pending", "busy", [h("strong", {}, "An attempt is due")], []));
    for (const attempt of [...attempts].reverse()) lines.push(tried(attempt, open));
    lines.push(step("notifications", "quiet", [h("strong", {}, "Stored "), since(item.meta?.receivedAt)], []));
    fillWith(
      push,
      h(
        "div",
        { class: "row between" },
        h("h2", { id: "push-title" }, "Push"),
        h(
          "div",
          { class: "row" },
          badge(known),
          isAdmin && state !== "none"
            ? button("Push again", { icon: "repush", kind: "small", id: "repush", onclick: pushAgain })
            : null,
        ),
      ),
      h(
        "p",
        { class: "quiet" },
        known.means,
        state === "failed" && delivery?.data.attributes.errorMessage
          ? ` ${(ERRORS[delivery.data.attributes.errorMessage] ?? ["", ""])[1]}`
          : "",
      ),
      isAdmin
        ? h("ol", { class: "timeline", id: "timeline", "aria-label": "What was tried, newest first" }, lines)
        : h(
            "p",
            {},
            `Attempts so far: ${item.meta?.push.attempts ?? 0}. `,
            next ? ["Next attempt ", countdown(next)] : null,
          ),
    );
    if (hadFocus) document.getElementById(hadFocus)?.focus();
  }

  const step = (picture, tone, title, more) =>
    h("li", { class: tone }, h("span", { class: "mark" }, icon(picture)), h("div", { class: "line" }, title), more);

  function tried({ id: name, attributes }, open) {
    const { startedAt, durationMs, url, address, reason, responseStatus, responseText, error } = attributes;
    const [what, why] = error ? (ERRORS[error] ?? [error, ""]) : ["Delivered", ""];
    const result = responseStatus ? `${what} (${responseStatus})` : what;
    const answer = h(
      "details",
      { "data-id": name, open: open.has(name) },
      h("summary", {}, responseText ? "The answer" : "Particulars"),
      h(
        "dl",
        { class: "facts" },
        [
          ["To", url],
          ["Address", address],
          ["Status", responseStatus],
        ]
          .filter(([, value]) => value)
          .map(([term, value]) => [h("dt", {}, term), h("dd", {}, String(value))]),
      ),
      responseText ? code(responseText, `The answer to attempt ${name}`) : null,
    );
    return step(
      error ? "failed" : "done",
      error ? "bad" : "good",
      [
        h("strong", {}, result),
        " ",
        h(
          "span",
          { class: "quiet" },
          `Attempt ${name.split("-")[1] ?? ""}${REASONS[reason] ? ` (${REASONS[reason]})` : ""}, `,
          since(startedAt),
          `, took ${milliseconds(durationMs)}`,
        ),
      ],
      [why ? h("p", { class: "quiet small" }, why) : null, answer],
    );
  }

  let drawn = "";
  function drawBody(document, delivery, attempts) {
    const bare = { ...document.data };
    delete bare.meta;
    const asPushed = delivery?.data.attributes.content ?? { ...document, data: bare };
    const text = print(asPushed);
    const again = JSON.stringify([text, attempts.at(-1)?.attributes.url]);
    // What is the same is left alone: someone may be reading or marking it.
    if (again === drawn) return;
    drawn = again;
    const url = attempts.at(-1)?.attributes.url;
    const reading = `curl -H "x-api-key: $TIDINGS_KEY" ${quote(new URL(`notifications/${id}`, BASE).href)}`;
    const headers = [...(delivery?.data.attributes.contentHeaders ?? []), { name: "webhook-id", value: "test" }]
      .map(({ name, value }) => ` -H ${quote(`${name}: ${value}`)}`)
      .join("");
    const pushing =
      url &&
      `curl -X POST${headers} --data-binary ${quote(compact(asPushed))} ${quote(url)}`;
    fillWith(
      body,
      h(
        "div",
        { class: "row between" },
        h("h2", { id: "json-title" }, delivery ? "As it is pushed" : "As it is stored"),
        h(
          "div",
          { class: "row" },
          button("Copy", { icon: "copy", kind: "small", id: "copy-json", onclick: () => copy(text, "JSON") }),
          button("curl", {
            icon: "copy",
            kind: "small",
            id: "copy-curl",
            title: "Copy a command that reads it",
            onclick: () => copy(reading, "Command"),
          }),
          pushing
            ? button("curl push", {
                icon: "copy",
                kind: "small",
                id: "copy-curl-push",
                title: "Copy a command that pushes it, unsigned",
                onclick: () => copy(pushing, "Command"),
              })
            : null,
        ),
      ),
      code(text, "The notification as JSON"),
    );
  }

  const compact = (value) => print(value).replaceAll(/\n\s*/g, "");

  function keys(event) {
    if (!item) return false;
    switch (event.key) {
      case "x":
        change("isDismissed");
        return true;
      case "r":
        change("isRead");
        return true;
      case "f":
        change("isFlagged");
        return true;
      case "p":
        if (isAdmin) pushAgain();
        return true;
      case "z":
        undo();
        return true;
      case "j":
        go(`notifications/${Number(id) - 1}`);
        return true;
      case "k":
        go(`notifications/${Number(id) + 1}`);
        return true;
      case "Escape":
        location.hash = lastList;
        return true;
      default:
        return false;
    }
  }

  start();
  return { keys };
}
