// Times as people read them: how long ago, in the viewer's zone, with the exact instant on hover.

import { h } from "./dom.js";

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const local = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });
const clockTime = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

const STEPS = [
  ["second", 1],
  ["minute", 60],
  ["hour", 3600],
  ["day", 86400],
  ["month", 2629800],
  ["year", 31557600],
];

/** "3 min. ago", "in 2 hr." */
export function ago(instant, now = Date.now()) {
  const seconds = Math.round((new Date(instant).getTime() - now) / 1000);
  const size = Math.abs(seconds);
  if (size < 5) return "just now";
  let [unit, length] = STEPS[0];
  for (const [name, step] of STEPS) if (size >= step) [unit, length] = [name, step];
  return relative.format(Math.trunc(seconds / length), unit);
}

/** The instant in the viewer's zone and, exactly, in UTC. */
export function exact(instant) {
  return `${local.format(new Date(instant))} (${instant})`;
}

/** "14:05" */
export const clock = (instant) => clockTime.format(new Date(instant));

/** "3 Nov 2026" */
export const date = (instant) => day.format(new Date(instant));

/** An element that tells how long ago it was, and goes on telling it. */
export function since(instant) {
  if (!instant) return h("span", { class: "quiet" }, "–");
  return h("time", { datetime: instant, title: exact(instant), "data-tells": "ago" }, ago(instant));
}

/** An element with the time in the viewer's zone. */
export function at(instant) {
  if (!instant) return h("span", { class: "quiet" }, "–");
  return h("time", { datetime: instant, title: exact(instant) }, local.format(new Date(instant)));
}

/** "4 min 12 s" */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [
    [86400, "d"],
    [3600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = parts.findIndex(([length]) => whole >= length);
  if (first < 0) return "0 s";
  const [length, unit] = parts[first];
  const rest = parts[first + 1];
  const text = `${Math.floor(whole / length)} ${unit}`;
  const more = rest ? Math.floor((whole % length) / rest[0]) : 0;
  return more > 0 ? `${text} ${more} ${rest[1]}` : text;
}

/** An element that counts down to an instant. */
export function countdown(instant) {
  return h("time", { datetime: instant, title: exact(instant), "data-tells": "countdown" }, left(instant));
}

function left(instant) {
  const seconds = (new Date(instant).getTime() - Date.now()) / 1000;
  return seconds > 0.5 ? `in ${span(seconds)}` : "now";
}

/** Milliseconds as people read them. */
export function milliseconds(value) {
  if (value === null || value === undefined) return "–";
  return value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(value < 10000 ? 1 : 0)} s`;
}

let tick = 0;
setInterval(() => {
  tick += 1;
  for (const element of document.querySelectorAll("time[data-tells]")) {
    const counts = element.dataset.tells === "countdown";
    if (!counts && tick % 15 !== 0) continue;
    const text = counts ? left(element.dateTime) : ago(element.dateTime);
    if (element.textContent !== text) element.textContent = text;
  }
}, 1000);
