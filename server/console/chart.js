// Two small charts, as SVG with their figures as text and as a table.

import { h, svg } from "./dom.js";
import { clock, milliseconds } from "./time.js";
import { count } from "./words.js";

const WIDTH = 600,
  HEIGHT = 170,
  LEFT = 64,
  BOTTOM = 26,
  TOP = 12;

function frame(label, buckets, marks, drawing) {
  const inner = WIDTH - LEFT;
  const every = Math.ceil(buckets.length / 5);
  const x = (at) => LEFT + (at * inner) / buckets.length;
  const times = buckets.map((bucket, at) =>
    at % every === 0 ? svg("text", { x: x(at), y: HEIGHT - 4, class: "axis" }, clock(bucket.startedAt)) : null,
  );
  const lines = marks.map(([y, text]) => [
    svg("line", { x1: LEFT, x2: WIDTH, y1: y, y2: y, class: "grid" }),
    svg("text", { x: LEFT - 6, y: y + 4, class: "axis end" }, text),
  ]);
  return svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": label },
    lines,
    drawing(x, inner / buckets.length),
    times,
  );
}

const height = (share) => TOP + (1 - share) * (HEIGHT - BOTTOM - TOP);

function table(caption, names, rows) {
  return h(
    "details",
    { class: "figures" },
    h("summary", {}, "The figures as a table"),
    h(
      "div",
      { class: "scrolls", tabindex: "0", role: "region", "aria-label": caption },
      h(
        "table",
        { class: "plain-table" },
        h("caption", { class: "unseen" }, caption),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            names.map((name) => h("th", { scope: "col" }, name)),
          ),
        ),
        h(
          "tbody",
          {},
          rows.map(([first, ...others]) =>
            h(
              "tr",
              {},
              h("th", { scope: "row" }, first),
              others.map((value) => h("td", {}, value)),
            ),
          ),
        ),
      ),
    ),
  );
}

const nice = (value) => {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
};

/** Attempts that were accepted and that failed, over time. */
export function outcomes(buckets, summary) {
  const most = nice(Math.max(1, ...buckets.map((bucket) => bucket.accepted + bucket.failed)));
  const bars = (x, wide) =>
    buckets
      .map((bucket, at) => {
        const [good, all] = [bucket.accepted / most, (bucket.accepted + bucket.failed) / most];
        const bar = (from, to, kind) =>
          to > from
            ? svg("rect", {
                x: x(at) + wide * 0.15,
                width: wide * 0.7,
                y: height(to),
                height: Math.max(height(from) - height(to), 1.5),
                rx: 1.5,
                class: kind,
              })
            : null;
        return [
          bar(0, good, "pole good"),
          bar(good, all, "pole bad"),
          svg(
            "title",
            {},
            `${clock(bucket.startedAt)}: ${count(bucket.accepted)} accepted, ${count(bucket.failed)} failed`,
          ),
        ];
      })
      .map((parts) => svg("g", {}, parts));
  const marks = [
    [height(1), count(most)],
    [height(0), "0"],
  ];
  return [
    frame(`Attempts over time. ${summary}`, buckets, marks, bars),
    h(
      "p",
      { class: "legend" },
      h("span", { class: "key good" }),
      "accepted ",
      h("span", { class: "key bad" }),
      "failed",
    ),
    table(
      "Attempts over time",
      ["From", "Accepted", "Failed"],
      buckets.map((bucket) => [clock(bucket.startedAt), count(bucket.accepted), count(bucket.failed)]),
    ),
  ];
}

/** How long attempts took, over time. */
export function latencies(buckets, summary) {
  const most = nice(Math.max(10, ...buckets.flatMap((bucket) => [bucket.p50Ms ?? 0, bucket.p95Ms ?? 0])));
  const lines = (x, wide) =>
    ["p95Ms", "p50Ms"].map((name) => {
      let path = "",
        before = false;
      const dots = buckets.map((bucket, at) => {
        const value = bucket[name];
        if (value === null || value === undefined) {
          before = false;
          return null;
        }
        const [cx, cy] = [(x(at) + wide / 2).toFixed(1), height(value / most).toFixed(1)];
        path += `${before ? "L" : "M"}${cx} ${cy}`;
        before = true;
        const title = svg(
          "title",
          {},
          `${clock(bucket.startedAt)}: ${name === "p50Ms" ? "half" : "95 of 100"} within ${milliseconds(value)}`,
        );
        return name === "p50Ms"
          ? svg("circle", { cx, cy, r: 3, class: `dot-${name}` }, title)
          : svg("rect", { x: cx - 3, y: cy - 3, width: 6, height: 6, class: `dot-${name}` }, title);
      });
      return [svg("path", { d: path || "M0 0", class: `line-${name}` }), dots];
    });
  const marks = [
    [height(1), milliseconds(most)],
    [height(0), "0"],
  ];
  return [
    frame(`How long attempts took. ${summary}`, buckets, marks, lines),
    h(
      "p",
      { class: "legend" },
      h("span", { class: "key p50" }),
      "half within (p50) ",
      h("span", { class: "key p95" }),
      "95 of 100 within (p95)",
    ),
    table(
      "How long attempts took",
      ["From", "p50", "p95"],
      buckets.map((bucket) => [clock(bucket.startedAt), milliseconds(bucket.p50Ms), milliseconds(bucket.p95Ms)]),
    ),
  ];
}
