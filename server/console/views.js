// The views of the list of notifications, and what an empty one says.

import { h } from "./dom.js";
import { parted, withView } from "./filters.js";
import { icon } from "./icons.js";
import { empty } from "./parts.js";
import { href } from "./router.js";
import { count } from "./words.js";

/** The views: a name, its words, and how many there are by the statistics; null where that is not known. */
const VIEWS = [
  ["Open", [], ({ notifications: all }) => shown(all.undismissed, all)],
  ["Unread", ["is:unread"], ({ notifications: all }) => shown(all.unread, all)],
  ["Flagged", ["is:flagged"], ({ notifications: all }) => shown(all.flagged, all)],
  ["Waiting", ["is:any", "pushed:pending,paused"], ({ push }) => shown(push.pending + push.paused, push)],
  ["Given up", ["is:any", "pushed:failed"], ({ push }) => shown(push.failed, push)],
  [
    "Dismissed",
    ["is:dismissed"],
    ({ notifications: all }) => (all.isComplete ? count(all.total - all.undismissed) : null),
  ],
  ["Everything", ["is:any"], ({ notifications: all }) => count(all.total)],
];

/** A count; with a plus where there may be more. */
function shown(value, { isComplete }) {
  return `${count(value)}${isComplete ? "" : "+"}`;
}

/** The links to the views, with their counts; of other words than a view's there are no counts. */
export function views(text, stats, isLive) {
  const { view, others } = parted(text);
  return VIEWS.map(([name, words, counts]) => {
    const isThis = [...words].sort().join() === view.join();
    const number = stats && others.length === 0 ? counts(stats) : null;
    return h(
      "a",
      {
        class: "chip",
        href: href("notifications", { q: withView(text, words), live: isLive ? "" : "off" }),
        "aria-current": isThis ? "true" : null,
      },
      name,
      number === null ? null : h("span", { class: "number" }, number),
    );
  });
}

/** What an empty list says. `isInside`: it is not the first page; `isNew`: there never was a notification. */
export function nothing({ text, isInside, isNew, isAdmin }) {
  const isPlain = text.trim() === "";
  if (isInside)
    return empty(
      "No more",
      "There is nothing on this side of the list.",
      h("a", { class: "button", href: href("notifications", { q: text }) }, "To the beginning"),
    );
  if (isNew) {
    return empty(
      "Nothing yet",
      "Nothing has been stored for this tenant. As soon as an event is posted, it appears here.",
      isAdmin ? h("a", { class: "button primary", href: href("post") }, icon("post"), "Post an event") : null,
    );
  }
  if (isPlain)
    return empty(
      "All done",
      "Every notification has been dismissed.",
      h("a", { class: "button", href: href("notifications", { q: "is:any" }) }, "Show everything"),
    );
  return empty(
    "Nothing matches",
    "No notification fits this search.",
    h("a", { class: "button", href: href("notifications", { q: withView(text, ["is:any"]) }) }, "Dismissed ones too"),
    h("a", { class: "button", href: href("notifications") }, "Without a search"),
  );
}
