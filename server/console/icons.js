// The few pictures there are: strokes of one weight, in the colour of the text beside them.

import { svg } from "./dom.js";

const PATHS = {
  overview: "M2.5 9.5 6 5.5l3 3 4.5-5.5M2.5 13.5h11",
  notifications: "M2.5 3.5h11v9h-11zM2.5 8.5h3l1 2h3l1-2h3",
  queue: "M2.5 4h7M2.5 8h5M2.5 12h7M11 6l2.5 2L11 10",
  settings: "M2.5 4.5h6M12 4.5h1.5M2.5 11.5H4M7.5 11.5h6M10.25 2.75v3.5M5.75 9.75v3.5",
  tenants:
    "M6 8a2.25 2.25 0 1 0 0-4.5A2.25 2.25 0 0 0 6 8ZM2 13c.3-2 1.9-3.2 4-3.2S9.7 11 10 13M10.5 3.7a2.2 2.2 0 0 1 0 4.2M12 10.2c1.2.5 1.9 1.5 2 2.8",
  post: "M14 2 2 7l4.5 2.5L9 14z M6.5 9.5 14 2",
  docs: "M4 2.5h6l2.5 2.5v8.5H4zM10 2.5V5h2.5M6 8h4.5M6 10.5h4.5",
  leave: "M6.5 3h-4v10h4M6 8h7.5M11 5.5 13.5 8 11 10.5",
  done: "m3 8.5 3.2 3.2L13 5",
  failed: "m4 4 8 8M12 4l-8 8",
  pending: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 4.8V8l2.2 1.6",
  paused: "M5.5 3.5v9M10.5 3.5v9",
  none: "M4 8h8",
  read: "M2.5 6.5 8 3l5.5 3.5v6h-11zM2.5 6.5 8 10l5.5-3.5",
  unread: "M2.5 4h11v8.5h-11zM2.5 4.5 8 9l5.5-4.5",
  flag: "M4 14V2.5M4 3h8l-1.8 2.7L12 8.5H4",
  dismiss: "M2.5 3h11v3h-11zM3.5 6v7h9V6M6.5 8.5h3",
  restore: "M3 7.5h7a3 3 0 0 1 0 6H6M5.5 4.5l-3 3 3 3",
  repush: "M13 4v3h-3M12.7 7A5 5 0 1 0 13 9.5",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9ZM10.3 10.3 13.5 13.5",
  live: "M8 9a1 1 0 1 0 0-2 1 1 0 0 0 0 2ZM5.2 10.8a4 4 0 0 1 0-5.6M10.8 5.2a4 4 0 0 1 0 5.6M3.2 12.8a6.8 6.8 0 0 1 0-9.6M12.8 3.2a6.8 6.8 0 0 1 0 9.6",
  warn: "M8 2.5 14.5 13.5h-13zM8 6.5V9.5M8 11.4v.1",
  help: "M6 6a2 2 0 1 1 2.8 1.9c-.6.3-.8.7-.8 1.4M8 11.6v.1",
  back: "M9.5 3.5 5 8l4.5 4.5",
  next: "M6.5 3.5 11 8l-4.5 4.5",
  plus: "M8 3v10M3 8h10",
  remove: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.5 9h6l.5-9",
  key: "M6 11.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM9 8.5h5.5M12.5 8.5v2",
};

/** A picture that says nothing which the text beside it doesn't say. */
export function icon(name) {
  const path = svg("path", {
    d: PATHS[name],
    fill: "none",
    stroke: "currentColor",
    "stroke-width": 1.5,
    "stroke-linecap": "round",
    "stroke-linejoin": "round",
  });
  return svg(
    "svg",
    { viewBox: "0 0 16 16", class: `icon icon-${name}`, "aria-hidden": "true", focusable: "false" },
    path,
  );
}
