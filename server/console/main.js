// The frame around the screens: who one is, where one can go, and what one sees.

import { forget } from "./actions.js";
import { key, whenRefused } from "./api.js";
import { fillWith, h } from "./dom.js";
import { icon } from "./icons.js";
import { identify, login } from "./login.js";
import { notification } from "./notification.js";
import { notifications } from "./notifications.js";
import { overview } from "./overview.js";
import { announce, ask, button, failed } from "./parts.js";
import { postEvent } from "./post.js";
import { queue } from "./queue.js";
import { go, here, href } from "./router.js";
import { settings } from "./settings.js";
import { tenants } from "./tenants.js";
import { ROLES } from "./words.js";

const app = document.getElementById("app");

/** The screens: where, what they are called, and who sees them. */
const SCREENS = [
  { path: "overview", name: "Overview", roles: ["admin", "consumer", "operator"], show: overview },
  {
    path: "notifications",
    name: "Notifications",
    roles: ["admin", "consumer"],
    show: (...all) => (here().path.length > 1 ? notification : notifications)(...all),
  },
  { path: "queue", name: "Push queue", roles: ["admin"], show: queue },
  { path: "settings", name: "Settings", roles: ["admin"], show: settings },
  { path: "tenants", name: "Tenants", roles: ["operator"], show: tenants },
  { path: "post", name: "Post", roles: ["producer", "admin"], show: postEvent },
];

const KEYS = [
  ["j, k", "next and previous notification"],
  ["Enter", "open it"],
  ["Space", "select it"],
  ["x", "dismiss it, or put it back"],
  ["r", "read, or unread"],
  ["f", "flag, or unflag"],
  ["p", "push it again"],
  ["z", "take the last change back"],
  ["/", "search"],
  ["l", "follow what arrives, or stop following"],
  ["g then o, n, q, s, t", "overview, notifications, queue, settings, tenants"],
  ["?", "this help"],
];

let session = null;
/** The screen that is shown: `{name, close, update, keys}`. */
let shown = null;

function leave(message) {
  close();
  key.forget();
  forget();
  session = null;
  document.getElementById("jobs").replaceChildren();
  login(app, enter, message);
}

function close() {
  shown?.controller.abort();
  shown = null;
}

function enter(who) {
  session = who;
  const allowed = SCREENS.filter((screen) => screen.roles.includes(session.role));
  const [role, does] = ROLES[session.role] ?? [session.role, ""];
  const links = allowed.map((screen) =>
    h(
      "a",
      { href: href(screen.path), id: `nav-${screen.path}`, "data-screen": screen.path },
      icon(screen.path),
      h("span", {}, screen.name),
    ),
  );
  fillWith(
    app,
    h(
      "div",
      { class: "frame" },
      h(
        "header",
        { class: "bar" },
        h(
          "a",
          { class: "brand", href: href(allowed[0].path) },
          h("img", { src: "console/icon.svg", alt: "", width: 24, height: 24 }),
          "Tidings",
        ),
        h("nav", { "aria-label": "Screens", id: "screens" }, links),
        h(
          "div",
          { class: "who" },
          h(
            "div",
            { class: "whose", id: "whose" },
            h("strong", {}, session.tenantName || "All tenants"),
            h(
              "span",
              { class: "quiet", title: does },
              `${role}${session.name && session.role !== "operator" ? ` · ${session.name}` : ""}`,
            ),
          ),
          h(
            "div",
            { class: "row whats" },
            button("", { icon: "help", kind: "plain bare", label: "Keyboard and help", id: "help", onclick: help }),
            h(
              "a",
              {
                class: "button plain bare",
                href: "docs/",
                title: "The description of the interface",
                "aria-label": "The description of the interface",
              },
              icon("docs"),
            ),
            button("", { icon: "leave", kind: "plain bare", label: "Log out", id: "logout", onclick: () => leave("") }),
          ),
        ),
      ),
      h("main", { id: "main" }),
    ),
  );
  route();
}

function route() {
  if (!session) return;
  const allowed = SCREENS.filter((screen) => screen.roles.includes(session.role));
  const { path, query } = here();
  const screen = allowed.find((screen) => screen.path === path[0]);
  if (!screen) {
    if (path.length > 0 && SCREENS.some((screen) => screen.path === path[0]))
      announce("This key does not see that screen");
    go(allowed[0].path, {}, { replace: true });
    return;
  }
  for (const link of document.querySelectorAll("#screens a")) {
    if (link.dataset.screen === screen.path) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const name = path.join("/");
  if (shown?.name === name && shown.update) {
    shown.update(query);
    return;
  }
  const isFirst = shown === null;
  close();
  const controller = new AbortController();
  // The old screen's place goes with it: what still arrives for it is shown nowhere.
  const place = h("div", { class: `screen screen-${screen.path}` });
  const main = document.getElementById("main");
  fillWith(main, place);
  shown = { name, controller };
  try {
    Object.assign(shown, screen.show({ place, path, query, session, signal: controller.signal }));
  } catch (error) {
    fillWith(place, failed(error, route));
  }
  scrollTo(0, 0);
  document.title = `${place.querySelector("h1")?.textContent ?? screen.name} · Tidings`;
  if (!isFirst) {
    place.querySelector("h1")?.focus({ preventScroll: true });
    announce(place.querySelector("h1")?.textContent ?? screen.name);
  }
}

function help() {
  ask({
    title: "Keyboard",
    agree: "Close",
    cancel: null,
    body: [
      h(
        "dl",
        { class: "keys" },
        KEYS.map(([name, does]) => [
          h(
            "dt",
            {},
            name.split(/(, | then )/).map((part, at) => (at % 2 ? part : h("kbd", {}, part))),
          ),
          h("dd", {}, does),
        ]),
      ),
      h(
        "p",
        { class: "quiet small" },
        "Search: ",
        [
          "type:close",
          "entity:experiment:12",
          "by:100",
          "pushed:failed",
          "is:unread",
          "since:2h",
          "until:2026-11-01",
          "sort:oldest",
        ].map((word) => [h("code", {}, word), " "]),
        "Words with commas between them mean: one of these. All must agree.",
      ),
    ],
  });
}

let first = "";
addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !session) return;
  const at = event.target;
  if (
    document.querySelector("dialog[open]") ||
    at.isContentEditable ||
    /^(TEXTAREA|SELECT)$/.test(at.tagName) ||
    (at.tagName === "INPUT" && !/^(checkbox|radio|button)$/.test(at.type))
  )
    return;
  const before = first;
  first = "";
  if (before === "g") {
    const to = { o: "overview", n: "notifications", q: "queue", s: "settings", t: "tenants", p: "post" }[event.key];
    if (SCREENS.some((screen) => screen.path === to && screen.roles.includes(session.role))) {
      event.preventDefault();
      go(to);
    }
  } else if (event.key === "?") {
    event.preventDefault();
    help();
  } else if (event.key === "g") first = "g";
  else if (shown?.keys?.(event)) event.preventDefault();
});

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  (document.getElementById("title") ?? document.getElementById("main"))?.focus();
});

addEventListener("hashchange", route);
whenRefused(() => session && leave("The server no longer knows this key. It may have been revoked."));

async function begin() {
  if (!key.get()) return login(app, enter);
  try {
    return enter(await identify());
  } catch (error) {
    if (error.status === 401) return leave("The server no longer knows this key. It may have been revoked.");
    return fillWith(
      app,
      h("main", { class: "login", id: "main" }, failed(error, begin), button("Log out", { onclick: () => leave("") })),
    );
  }
}

begin();
