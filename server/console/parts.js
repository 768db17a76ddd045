// What every screen is made of: badges, messages, dialogs, and the three kinds of nothing.

import { Failure } from "./api.js";
import { fillWith, h, newId } from "./dom.js";
import { icon } from "./icons.js";

/** A picture, a word and a colour: none of them says it alone. */
export function badge({ icon: name, word, tone, means }, more) {
  return h(
    "span",
    { class: `badge ${tone}`, title: means },
    icon(name),
    word,
    more ? h("span", { class: "more" }, more) : null,
  );
}

/** A button with a picture. */
export function button(text, { icon: name, kind = "", label, ...attributes } = {}) {
  return h(
    "button",
    { type: "button", class: `button ${kind}`.trim(), "aria-label": label, title: label, ...attributes },
    name ? icon(name) : null,
    text ? h("span", {}, text) : null,
  );
}

/** Tells whoever can't see the page. */
export function announce(text) {
  const live = document.getElementById("live");
  // The same text twice is told twice.
  live.textContent = "";
  setTimeout(() => (live.textContent = text), 60);
}

/** A message in the corner, that goes by itself unless it is read or focused. */
export function toast(text, { tone = "", action, onaction, stays = 6000 } = {}) {
  const box = document.getElementById("toasts");
  const close = () => {
    clearTimeout(timer);
    element.remove();
  };
  const act =
    action &&
    button(action, {
      kind: "plain",
      onclick: () => {
        close();
        onaction();
      },
    });
  const element = h(
    "div",
    { class: `toast ${tone}` },
    h("span", { role: tone === "bad" ? "alert" : "status" }, text),
    act,
    button("", { icon: "failed", kind: "plain bare", label: "Close this message", onclick: close }),
  );
  let timer;
  const arm = () => (timer = setTimeout(close, stays));
  for (const event of ["pointerenter", "focusin"]) element.addEventListener(event, () => clearTimeout(timer));
  for (const event of ["pointerleave", "focusout"])
    element.addEventListener(event, () => {
      clearTimeout(timer);
      arm();
    });
  arm();
  while (box.children.length > 1) box.firstChild.remove();
  box.append(element);
  return close;
}

/** Tells what failed, unless it was only left. */
export function complain(error) {
  if (error?.aborted) return;
  if (!(error instanceof Failure)) console.error(error);
  toast(error instanceof Failure ? error.message : "Something in the console failed.", { tone: "bad", stays: 12000 });
}

/** There is nothing, and why. */
export function empty(title, text, ...actions) {
  return h(
    "div",
    { class: "empty" },
    h("h2", {}, title),
    h("p", {}, text),
    actions.length ? h("div", { class: "row" }, actions) : null,
  );
}

/** It could not be loaded. */
export function failed(error, again) {
  if (!(error instanceof Failure)) console.error(error);
  return h(
    "div",
    { class: "empty failed", role: "alert" },
    h("h2", {}, icon("warn"), "Could not load"),
    h("p", {}, error instanceof Failure ? error.message : "Something in the console failed."),
    h(
      "div",
      { class: "row" },
      button("Try again", { icon: "repush", kind: "primary", id: newId("again"), onclick: again }),
    ),
  );
}

/** Fills an element with what a promise answers with; meanwhile it says that it loads, and after a failure why. */
export async function load(place, make, { quietly = false, what = "Loading" } = {}) {
  let waiting;
  if (!quietly)
    waiting = setTimeout(() => fillWith(place, h("p", { class: "loading", role: "status" }, `${what} …`)), 200);
  place.setAttribute("aria-busy", "true");
  try {
    const made = await make();
    clearTimeout(waiting);
    fillWith(place, made);
    return true;
  } catch (error) {
    clearTimeout(waiting);
    if (!error?.aborted)
      fillWith(
        place,
        failed(error, () => load(place, make, { what })),
      );
    return false;
  } finally {
    place.removeAttribute("aria-busy");
  }
}

/** Asks. Answers what `result` makes of it when it is agreed to, else null. `firm`: Escape does not close it. */
export function ask({
  title,
  body,
  agree = "OK",
  tone = "primary",
  result = () => true,
  cancel = "Cancel",
  wide = false,
  firm = false,
}) {
  return new Promise((resolve) => {
    const id = newId("dialog");
    const agreeing = h("button", { type: "submit", class: `button ${tone}` }, agree);
    const form = h(
      "form",
      {
        method: "dialog",
        onsubmit: (event) => {
          event.preventDefault();
          close(result(form));
        },
      },
      h("h2", { id }, title),
      h("div", { class: "dialog-body" }, body),
      h("div", { class: "row end" }, cancel ? button(cancel, { onclick: () => close(null) }) : null, agreeing),
    );
    const dialog = h(
      "dialog",
      {
        "aria-labelledby": id,
        class: wide ? "wide" : "",
        oncancel: (event) => {
          event.preventDefault();
          if (!firm) close(null);
        },
        onkeydown: (event) => firm && event.key === "Escape" && event.preventDefault(),
      },
      form,
    );
    const before = document.activeElement;
    const close = (value) => {
      dialog.close();
      dialog.remove();
      if (before?.isConnected) before.focus();
      resolve(value);
    };
    document.body.append(dialog);
    dialog.showModal();
    (
      form.querySelector("[autofocus]") ??
      (tone === "danger" && cancel ? form.querySelector(".row.end .button") : agreeing)
    ).focus();
  });
}

/** Copies a text, and says so. */
export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Where the page is not served over TLS there is no clipboard: the old way.
    const area = h("textarea", { class: "unseen", "aria-hidden": "true", value: text });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) return toast("The browser does not allow copying here.", { tone: "bad" });
  }
  return toast(`${what} copied`);
}

/** A button that copies. */
export const copyButton = (text, what, caption = "Copy") =>
  button(caption, {
    icon: "copy",
    kind: "small",
    label: caption === "Copy" ? `Copy ${what.toLowerCase()}` : null,
    onclick: () => copy(typeof text === "function" ? text() : text, what),
  });

/** The head of a screen. */
export function head(title, ...more) {
  return h(
    "header",
    { class: "head" },
    h("h1", { tabindex: "-1", id: "title" }, title),
    h("div", { class: "row tools" }, more),
  );
}

/** A text in a box of its own, that can be scrolled by keyboard. */
export const code = (text, label) =>
  h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": label }, h("code", {}, text));

/** Buttons to the pages before and after. */
export function pager(prev, next, onturn) {
  if (!prev && !next) return null;
  return h(
    "nav",
    { class: "pager", "aria-label": "Pages" },
    button("Newer", { icon: "back", disabled: !prev, id: "page-prev", onclick: () => onturn(prev) }),
    button("Older", { icon: "next", kind: "flip", disabled: !next, id: "page-next", onclick: () => onturn(next) }),
  );
}
