// Is something wrong, and what? What needs action comes first.

import { repushAll } from "./actions.js";
import { get, patch } from "./api.js";
import { latencies, outcomes } from "./chart.js";
import { fillWith, h } from "./dom.js";
import { icon } from "./icons.js";
import { badge, button, complain, empty, head, load, toast } from "./parts.js";
import { go, href } from "./router.js";
import { date, milliseconds, since, span } from "./time.js";
import { HEALTH, count, many } from "./words.js";

/** How often it is looked at again, in milliseconds. */
const LOOK = 10_000;
/** Up to so many that were given up are counted. */
const COUNTED = 10_000;
/** An older undelivered notification needs action, in milliseconds. */
const OLD = 15 * 60_000;

export function overview(all) {
  return all.session.role === "operator" ? everyTenant(all) : oneTenant(all);
}

const updated = () => h("span", { class: "quiet small" }, `Updated ${new Date().toLocaleTimeString()}`);

/** Loads now, and again as long as the screen is shown and seen. */
function keepUp(place, make, signal, note) {
  let made = false,
    timer;
  const again = async () => {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (!made) made = await load(place, make);
    else if (!document.hidden && !place.matches(":focus-within")) {
      try {
        const opened = new Set(
          [...place.querySelectorAll("details[open]")].map((element) => element.closest("section")?.id),
        );
        fillWith(place, await make());
        for (const id of opened) place.querySelector(`#${id} details`)?.setAttribute("open", "");
        fillWith(note, updated());
      } catch (error) {
        if (!error.aborted) fillWith(note, h("span", { class: "problem" }, `Not up to date: ${error.message}`));
      }
    }
    if (!signal.aborted) timer = setTimeout(again, LOOK);
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  again().then(() => made && fillWith(note, updated()));
  return again;
}

function figure(name, value, tone, more) {
  return h(
    "div",
    { class: `figure ${tone ?? ""}` },
    h("dt", {}, name),
    h("dd", {}, h("span", { class: "value" }, value), more ? h("span", { class: "quiet small" }, more) : null),
  );
}

const todo = (tone, title, text, ...actions) =>
  h(
    "li",
    { class: `todo ${tone}` },
    icon(tone === "bad" ? "warn" : "pending"),
    h("div", {}, h("strong", {}, title), h("p", {}, text)),
    h("div", { class: "row" }, actions),
  );

function oneTenant({ place, query, session, signal }) {
  let hours = query.get("hours") === "1" ? "1" : "24";
  const isAdmin = session.role === "admin";
  const note = h("span", {});
  const choice = (value, text) =>
    button(text, {
      kind: "small",
      id: `hours-${value}`,
      "aria-pressed": "false",
      onclick: () => go("overview", { hours: value === "24" ? "" : value }),
    });
  const choices = [choice("1", "1 hour"), choice("24", "24 hours")];
  const body = h("div", {});
  fillWith(
    place,
    head("Overview", note, h("div", { class: "group", role: "group", "aria-label": "Over what time" }, choices)),
    body,
  );

  async function make() {
    const [stats, settings] = await Promise.all([
      get("statistics", { query: [["hours", hours]], signal }),
      isAdmin ? get("external-notifications", { signal }) : null,
    ]);
    return draw(stats.data.attributes, settings?.data);
  }

  function draw(stats, settings) {
    const {
      notifications,
      push,
      attempts,
      buckets,
      oldestUndeliveredAt: oldest,
      failedSinceYesterday: failures,
    } = stats;
    const health = settings?.meta.push;
    const waiting = push.pending + push.paused;
    const over = hours === "1" ? "in the last hour" : "in the last 24 hours";
    const made = attempts.accepted + attempts.failed;
    const rate = made === 0 ? null : (100 * attempts.accepted) / made;
    const some = (part, value) => `${part.isComplete ? "" : "≥ "}${count(value)}`;
    const things = [];
    if (health && (health.state === "paused" || health.state === "disabled")) {
      things.push(
        todo(
          "bad",
          health.state === "paused" ? "The push is paused" : "The push was disabled",
          `${sentence(health.reason)} ${many(waiting, "notification")} ${waiting === 1 ? "waits" : "wait"}; nothing is lost.`,
          button("Resume", { icon: "repush", kind: "primary small", id: "resume", onclick: () => resume(settings) }),
          h("a", { class: "button small", href: href("settings") }, "Settings"),
        ),
      );
    } else if (!health && push.paused > 0) {
      things.push(
        todo(
          "bad",
          "The push is paused",
          `${many(push.paused, "notification")} wait for it to be resumed by an admin. They can be pulled meanwhile.`,
        ),
      );
    }
    if (health?.state === "none")
      things.push(
        todo(
          "warn",
          "Nothing is pushed",
          "There is no URL yet. Everything is stored, and can be pulled.",
          h("a", { class: "button primary small", href: href("settings") }, "Set a URL"),
        ),
      );
    if (failures > 0) {
      things.push(
        todo(
          "bad",
          `${failures >= COUNTED ? "At least " : ""}${many(failures, "push", "pushes")} given up since yesterday`,
          "They are kept. When the receiver is well again, push them once more.",
          isAdmin
            ? h("a", { class: "button small", href: href("queue", { status: "error" }) }, "See why")
            : h("a", { class: "button small", href: href("notifications", { q: "is:any pushed:failed" }) }, "See them"),
          isAdmin
            ? button("Push again", {
                icon: "repush",
                kind: "small",
                id: "repush-failed",
                onclick: () => repushAll({ "filter[push]": "failed" }, "All whose push was given up are meant.", again),
              })
            : null,
        ),
      );
    }
    if (health?.state !== "paused" && health?.state !== "disabled" && oldest && Date.now() - new Date(oldest) > OLD) {
      things.push(
        todo(
          "bad",
          "The receiver is behind",
          `The oldest undelivered notification has waited for ${span((Date.now() - new Date(oldest)) / 1000)}.`,
          isAdmin
            ? h("a", { class: "button small", href: href("queue", { status: "pending", sort: "id" }) }, "See the queue")
            : null,
        ),
      );
    } else if (rate !== null && rate < 90 && failures === 0 && waiting > 0) {
      things.push(
        todo(
          "warn",
          "Pushes fail, and are tried again",
          `${many(attempts.failed, "attempt")} failed ${over}.`,
          isAdmin
            ? h("a", { class: "button small", href: href("queue", { status: "pending" }) }, "See the queue")
            : null,
        ),
      );
    }
    if (notifications.total === 0) {
      return [
        things.length ? h("ul", { class: "todos", id: "todos", "aria-label": "Needs action" }, things) : null,
        empty(
          "Nothing yet",
          "No event has been stored for this tenant. As soon as one is, you see here how it goes.",
          isAdmin ? h("a", { class: "button primary", href: href("post") }, icon("post"), "Post an event") : null,
        ),
      ];
    }
    const summary =
      made === 0
        ? `No attempts ${over}.`
        : `${count(attempts.accepted)} accepted, ${count(attempts.failed)} failed ${over}.`;
    const took =
      attempts.p50Ms === null
        ? `No attempts ${over}.`
        : `Half within ${milliseconds(attempts.p50Ms)}, 95 of 100 within ${milliseconds(attempts.p95Ms)} ${over}.`;
    const oldestKept = stats.retention.oldestReceivedAt;
    return [
      things.length
        ? h("ul", { class: "todos", id: "todos", "aria-label": "Needs action" }, things)
        : h(
            "p",
            { class: "well", id: "well" },
            icon("done"),
            health?.state === "active" || !health ? "All is well: nothing needs action." : "Nothing needs action.",
          ),
      h(
        "dl",
        { class: "figures-row" },
        health
          ? figure(
              "Push",
              badge(HEALTH[health.state] ?? HEALTH.none),
              "",
              settings.meta.lastSuccessAt
                ? ["last accepted ", since(settings.meta.lastSuccessAt)]
                : "nothing accepted yet",
            )
          : null,
        figure(
          "Undelivered",
          some(push, waiting),
          waiting > 0 ? "busy" : "",
          oldest ? ["oldest ", since(oldest)] : "nothing waits",
        ),
        figure(
          "Accepted",
          rate === null ? "–" : `${rate === 100 ? 100 : Math.min(99.9, rate).toFixed(rate > 99 ? 1 : 0)} %`,
          rate !== null && rate < 90 ? "bad" : "",
          made === 0 ? `no attempts ${over}` : `of ${many(made, "attempt")}`,
        ),
        figure(
          "Push time",
          milliseconds(attempts.p50Ms),
          "",
          attempts.p95Ms === null ? "" : `p95 ${milliseconds(attempts.p95Ms)}`,
        ),
        figure(
          "Not dismissed",
          h("a", { href: href("notifications") }, some(notifications, notifications.undismissed)),
          "",
          `${count(notifications.unread)} unread, ${count(notifications.flagged)} flagged`,
        ),
        figure("Kept for", many(stats.retention.days, "day"), "", oldestKept ? `oldest of ${date(oldestKept)}` : ""),
      ),
      h(
        "div",
        { class: "columns even" },
        h(
          "section",
          { class: "panel", id: "chart-outcomes", "aria-labelledby": "outcomes" },
          h("h2", { id: "outcomes" }, "Attempts"),
          h("p", { class: "quiet" }, summary),
          outcomes(buckets, summary),
        ),
        h(
          "section",
          { class: "panel", id: "chart-latencies", "aria-labelledby": "latencies" },
          h("h2", { id: "latencies" }, "How long they took"),
          h("p", { class: "quiet" }, took),
          latencies(buckets, took),
        ),
      ),
      !stats.isComplete
        ? h(
            "p",
            { class: "quiet small" },
            "There is so much that not all was counted: figures with ≥ are what there is at least, and the charts are a sample.",
          )
        : null,
    ];
  }

  const sentence = (text) => (text ? `${text.charAt(0).toUpperCase()}${text.slice(1)}.` : "");

  async function resume(settings) {
    const attributes = settings.attributes.enabled ? { push: { enabled: true } } : { enabled: true };
    try {
      await patch("external-notifications", { data: { type: "externalNotifications", attributes } });
      toast("The push goes on, oldest first");
      document.activeElement?.blur();
      again();
    } catch (error) {
      complain(error);
    }
  }

  const show = (asked) => {
    hours = asked.get("hours") === "1" ? "1" : "24";
    for (const one of choices) one.setAttribute("aria-pressed", String(one.id === `hours-${hours}`));
  };
  show(query);
  const again = keepUp(body, make, signal, note);
  return {
    update: (asked) => {
      show(asked);
      load(body, make, { quietly: true });
    },
  };
}

function everyTenant({ place, signal }) {
  const note = h("span", {});
  const body = h("div", {});
  fillWith(
    place,
    head("Overview", note, h("a", { class: "button", href: href("tenants") }, icon("tenants"), "Tenants and keys")),
    body,
  );

  async function make() {
    const { data, meta } = await get("overview", { signal });
    const atLeast = meta.isComplete ? "" : "At least ";
    if (meta.tenants === 0)
      return empty(
        "No tenants yet",
        "Make the first one, and keys for it.",
        h("a", { class: "button primary", href: href("tenants") }, icon("plus"), "New tenant"),
      );
    const needs = data.filter((tenant) => tenant.attributes.needsAction);
    const fine = data.filter((tenant) => !tenant.attributes.needsAction);
    return [
      needs.length === 0
        ? h(
            "p",
            { class: "well", id: "well" },
            icon("done"),
            `All is well: none of ${many(meta.tenants, "tenant")} needs action.`,
          )
        : h(
            "p",
            { class: "well not", id: "well" },
            icon("warn"),
            `${atLeast}${many(meta.needAction, "tenant")} of ${count(meta.tenants)} ${meta.needAction === 1 ? "needs" : "need"} action.`,
          ),
      needs.length ? rows("Needs action", needs, "needs") : null,
      fine.length ? rows(needs.length ? "Others" : "Tenants with something to tell", fine, "fine") : null,
      meta.tenants > data.length
        ? h(
            "p",
            { class: "quiet" },
            `The rest of ${many(meta.tenants, "tenant")} ${meta.tenants - data.length === 1 ? "is" : "are"} not shown here. `,
            h("a", { href: href("tenants") }, "All tenants"),
          )
        : null,
    ];
  }

  function rows(title, tenants, id) {
    const names = ["Tenant", "Push", "Why", "Undelivered", "Oldest", "Given up since yesterday"];
    const cell = (name, ...content) => h("td", { role: "cell", "data-name": name }, h("span", {}, content));
    return h(
      "section",
      { "aria-labelledby": id, class: "panel flush" },
      h("h2", { id }, title),
      h(
        "table",
        { class: "cards", role: "table", "aria-labelledby": id },
        h(
          "thead",
          { role: "rowgroup" },
          h(
            "tr",
            { role: "row" },
            names.map((name) => h("th", { scope: "col", role: "columnheader" }, name)),
          ),
        ),
        h(
          "tbody",
          { role: "rowgroup" },
          tenants.map(
            ({ id: tenant, attributes: { name, push, undelivered, oldestUndeliveredAt, failedSinceYesterday } }) =>
              h(
                "tr",
                { role: "row", "data-id": tenant },
                cell("Tenant", h("a", { href: href(`tenants/${tenant}`) }, name)),
                cell("Push", badge(HEALTH[push.state] ?? HEALTH.none), push.since ? [" ", since(push.since)] : null),
                cell("Why", push.reason ?? "–"),
                cell("Undelivered", count(undelivered)),
                cell("Oldest", since(oldestUndeliveredAt)),
                cell(
                  "Given up since yesterday",
                  failedSinceYesterday > 0 ? h("strong", { class: "bad-text" }, count(failedSinceYesterday)) : "0",
                ),
              ),
          ),
        ),
      ),
    );
  }

  keepUp(body, make, signal, note);
  return {};
}
