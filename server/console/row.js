// One row of the list of notifications.

import { fillWith, h } from "./dom.js";
import { qualifier } from "./filters.js";
import { icon } from "./icons.js";
import { badge, button } from "./parts.js";
import { href } from "./router.js";
import { since } from "./time.js";
import { PUSH, nameOf, typeName } from "./words.js";

/** What a page has brought with it, by type and id. */
export const index = (answer) =>
  new Map((answer.included ?? []).map((resource) => [`${resource.type} ${resource.id}`, resource]));

function related(item, name, included) {
  const data = item.relationships?.[name]?.data;
  return data ? (included.get(`${data.type} ${data.id}`) ?? data) : null;
}

/** Fills a row, anew after a change; what has the focus keeps it. `does`: what `pick`, `set` and `open` do. */
export function paint(row, isPicked, does) {
  const { item, included, element } = row;
  const { isRead, isFlagged, isDismissed, type, comment, createdAt } = item.attributes;
  const [entity, by] = [related(item, "entity", included), related(item, "createdBy", included)];
  const focused = element.contains(document.activeElement) ? document.activeElement.dataset.part : null;
  element.className = [isRead ? "" : "unread", isDismissed ? "dismissed" : "", isPicked ? "picked" : ""]
    .join(" ")
    .trim();
  const push = item.meta?.push ?? { state: "none", attempts: 0 };
  const pick = h("input", {
    type: "checkbox",
    "data-part": "pick",
    checked: isPicked,
    "aria-label": `Select number ${item.id}`,
    onchange: (event) => does.pick(event.target.checked),
  });
  const act = (part, flag, yes, no, [pictureYes, pictureNo]) => {
    const is = item.attributes[flag];
    return button("", {
      icon: is ? pictureYes : pictureNo,
      kind: `plain bare${is && flag === "isFlagged" ? " on" : ""}`,
      label: is ? yes : no,
      "data-part": part,
      onclick: () => does.set({ [flag]: !is }),
    });
  };
  const states = [
    isRead ? null : h("span", { class: "dot", title: "Unread" }, h("span", { class: "unseen" }, "Unread")),
    isFlagged
      ? h("span", { class: "flagged", title: "Flagged" }, icon("flag"), h("span", { class: "unseen" }, "Flagged"))
      : null,
  ];
  fillWith(
    element,
    h("td", { role: "cell", class: "pick" }, pick),
    h(
      "td",
      { role: "cell", class: "what" },
      states,
      h("a", { href: href(`notifications/${item.id}`), "data-part": "link", onclick: does.open }, typeName(type)),
      h("span", { class: "number" }, `#${item.id}`),
      isDismissed ? h("span", { class: "tag" }, "Dismissed") : null,
      comment ? h("span", { class: "comment" }, comment) : null,
    ),
    h(
      "td",
      { role: "cell", class: "about" },
      entity
        ? h(
            "a",
            {
              class: "plain",
              href: href("notifications", { q: `is:any ${qualifier("entity", entity.id)}` }),
              title: `Everything about ${entity.id}`,
              "data-part": "entity",
            },
            nameOf(entity),
          )
        : h("span", { class: "quiet" }, "–"),
    ),
    h(
      "td",
      { role: "cell", class: "by" },
      by
        ? h(
            "a",
            {
              class: "plain",
              href: href("notifications", { q: `is:any ${qualifier("by", by.id)}` }),
              title: `Everything by ${by.id}`,
              "data-part": "by",
            },
            nameOf(by),
          )
        : h("span", { class: "quiet" }, "–"),
    ),
    h("td", { role: "cell", class: "when" }, since(createdAt)),
    h(
      "td",
      { role: "cell", class: "push" },
      badge(PUSH[push.state] ?? PUSH.none, push.attempts > 1 ? `${push.attempts}×` : null),
    ),
    h(
      "td",
      { role: "cell", class: "acts" },
      act("read", "isRead", "Mark as unread", "Mark as read", ["unread", "read"]),
      act("flag", "isFlagged", "Take the flag off", "Flag", ["flag", "flag"]),
      act("dismiss", "isDismissed", "Put back", "Dismiss", ["restore", "dismiss"]),
    ),
  );
  if (focused) element.querySelector(`[data-part="${focused}"]`)?.focus({ preventScroll: true });
  return element;
}
