// The push queue: each delivery with its columns, every one of them to be filtered and sorted by, and pushed again.

import { repush, repushAll, watch } from "./actions.js";
import { cursor, get } from "./api.js";
import { COLUMNS, FILTERS, ends, input, instant, parameter } from "./columns.js";
import { fillWith, h } from "./dom.js";
import { icon } from "./icons.js";
import { badge, button, empty, head, load } from "./parts.js";
import { go, href } from "./router.js";
import { at, countdown, since } from "./time.js";
import { ERRORS, STATUS, count, many, typeName } from "./words.js";

const SIZE = "50";

export function queue({ place, query, signal }) {
  let asked = query;
  let selected = new Set();
  let shown = [];
  const form = h("form", {
    id: "filters",
    class: "filters",
    "aria-label": "Filters",
    onsubmit: (event) => {
      event.preventDefault();
      apply();
    },
    onchange: (event) => event.target.tagName === "SELECT" && apply(),
  });
  const panel = h(
    "details",
    { class: "panel filters-panel", id: "filters-panel" },
    h("summary", {}, h("span", {}, "Filters"), h("span", { class: "quiet", id: "filters-set" })),
    form,
  );
  const quick = h("nav", { class: "chips", "aria-label": "Status", id: "views" });
  const tools = h("div", {
    class: "selection",
    id: "selection",
    role: "region",
    "aria-label": "Selected deliveries",
    hidden: true,
  });
  const list = h("div", { id: "list" });
  const jobs = h("section", { class: "panel", "aria-labelledby": "jobs-title" });
  const all = button("Push all that match again", {
    icon: "repush",
    id: "repush-all",
    onclick: () => repushAll(filter(), sentence(), reload),
  });
  fillWith(
    place,
    head(
      "Push queue",
      button("Refresh", { icon: "repush", id: "refresh", label: "Refresh", onclick: () => reload() }),
      all,
    ),
    quick,
    panel,
    tools,
    list,
    jobs,
  );

  const filter = () =>
    Object.fromEntries(
      FILTERS.flatMap(ends)
        .filter((end) => asked.get(end))
        .map((end) => [parameter(end), asked.get(end)]),
    );

  function sentence() {
    const set = FILTERS.filter((column) => ends(column).some((end) => asked.get(end)));
    if (set.length === 0) return "Every notification is meant: also those that were delivered.";
    return `Meant are those with: ${set
      .map(
        (column) =>
          `${column.title.toLowerCase()} ${ends(column)
            .map((end) => asked.get(end))
            .filter(Boolean)
            .join(" to ")}`,
      )
      .join(", ")}.`;
  }

  function drawForm() {
    const focused = form.contains(document.activeElement) ? document.activeElement.id : null;
    fillWith(
      form,
      FILTERS.map((column) => input(column, asked)),
      h(
        "div",
        { class: "row end" },
        button("Clear", { id: "clear", onclick: () => go("queue", { sort: asked.get("sort") }) }),
        h("button", { type: "submit", class: "button primary" }, "Filter"),
      ),
    );
    if (focused) document.getElementById(focused)?.focus();
    const set = FILTERS.filter((column) => ends(column).some((end) => asked.get(end)));
    document.getElementById("filters-set").textContent = set.length
      ? set.map((column) => column.title).join(", ")
      : "none";
    const status = asked.get("status") ?? "";
    fillWith(
      quick,
      [["", "All"], ...Object.entries(STATUS).map(([value, { word }]) => [value, word])].map(([value, word]) =>
        h(
          "a",
          {
            class: "chip",
            href: href("queue", { ...Object.fromEntries(asked), status: value, after: "", before: "" }),
            "aria-current": status === value ? "true" : null,
          },
          value ? icon(STATUS[value].icon) : null,
          word,
        ),
      ),
    );
  }

  function apply() {
    const values = Object.fromEntries(
      [...new FormData(form)].map(([name, value]) => [
        name,
        name.includes(".") ? instant(value) : value.replaceAll(" ", ""),
      ]),
    );
    go("queue", { ...values, sort: asked.get("sort") });
  }

  async function reload() {
    const parameters = [...Object.entries(filter()), ["sort", asked.get("sort") ?? "-id"], ["page[size]", SIZE]];
    for (const end of ["after", "before"]) if (asked.get(end)) parameters.push([`page[${end}]`, asked.get(end)]);
    await load(list, async () => draw(await get("deliveries", { query: parameters, signal })), {
      quietly: shown.length > 0,
      what: "Loading the queue",
    });
    drawJobs();
  }

  function draw(answer) {
    shown = answer.data;
    selected = new Set([...selected].filter((id) => shown.some((row) => row.id === id)));
    drawSelection();
    const isFiltered = Object.keys(filter()).length > 0;
    all.disabled = shown.length === 0;
    all.classList.toggle("primary", isFiltered);
    if (shown.length === 0 && (asked.get("after") || asked.get("before")))
      return empty(
        "No more",
        "There is nothing on this side of the queue.",
        button("To the beginning", { onclick: () => turn(null) }),
      );
    if (shown.length === 0 && isFiltered)
      return empty(
        "Nothing matches",
        asked.get("status") === "error" ? "No push has been given up." : "No delivery fits these filters.",
        h("a", { class: "button", href: href("queue") }, "Without filters"),
      );
    if (shown.length === 0)
      return empty(
        "Nothing yet",
        "Nothing has been pushed for this tenant, and nothing waits for it. A push needs a URL.",
        h("a", { class: "button primary", href: href("settings") }, "Settings"),
      );
    const sort = asked.get("sort") ?? "-id";
    const heading = ({ name, title }) => {
      const [up, down] = [sort === name, sort === `-${name}`];
      return h(
        "th",
        { scope: "col", role: "columnheader", "aria-sort": up ? "ascending" : down ? "descending" : "none" },
        h(
          "a",
          {
            class: "sort",
            id: `sort-${name}`,
            href: href("queue", {
              ...Object.fromEntries(asked),
              sort: down ? name : `-${name}`,
              after: "",
              before: "",
            }),
            title: `${name}: sort`,
          },
          title,
          up || down ? h("span", { "aria-hidden": "true" }, up ? " ↑" : " ↓") : null,
        ),
      );
    };
    const every = h("input", {
      type: "checkbox",
      id: "select-page",
      "aria-label": "Select all on this page",
      checked: selected.size === shown.length,
      onchange: () => {
        selected = new Set(every.checked ? shown.map((row) => row.id) : []);
        for (const box of list.querySelectorAll("tbody .pick input")) mark(box, every.checked);
        drawSelection();
      },
    });
    return [
      h(
        "table",
        { class: "cards queue", role: "table", "aria-label": "Deliveries" },
        h(
          "thead",
          { role: "rowgroup" },
          h(
            "tr",
            { role: "row" },
            h("th", { scope: "col", role: "columnheader", class: "pick" }, every),
            COLUMNS.map(heading),
          ),
        ),
        h("tbody", { role: "rowgroup" }, shown.map(row)),
      ),
      pages(cursor(answer.links.prev), cursor(answer.links.next)),
    ];
  }

  function pages(prev, next) {
    if (!prev && !next) return null;
    return h(
      "nav",
      { class: "pager", "aria-label": "Pages" },
      button("Before", { icon: "back", disabled: !prev, id: "page-prev", onclick: () => turn(prev) }),
      button("After", { icon: "next", kind: "flip", disabled: !next, id: "page-next", onclick: () => turn(next) }),
    );
  }

  const turn = (to) =>
    go("queue", {
      ...Object.fromEntries(asked),
      after: "",
      before: "",
      ...(to ? { [to[0] === "page[after]" ? "after" : "before"]: to[1] } : {}),
    });

  const mark = (box, on) => {
    box.checked = on;
    box.closest("tr").classList.toggle("picked", on);
  };

  function row({ id, attributes: one }) {
    const cell = (name, kind, ...content) =>
      h("td", { role: "cell", "data-name": name, class: kind }, h("span", {}, content));
    const box = h("input", {
      type: "checkbox",
      checked: selected.has(id),
      "aria-label": `Select number ${id}`,
      onchange: () => {
        if (box.checked) selected.add(id);
        else selected.delete(id);
        mark(box, box.checked);
        drawSelection();
      },
    });
    const [error] = ERRORS[one.errorMessage] ?? [one.errorMessage];
    const answer = one.responseStatus && one.errorMessage ? ` (${one.responseStatus})` : "";
    return h(
      "tr",
      { role: "row", "data-id": id, class: selected.has(id) ? "picked" : "" },
      h("td", { role: "cell", class: "pick" }, box),
      cell("Number", "number", h("a", { href: href(`notifications/${id}`) }, `#${id}`)),
      cell("Endpoint", "", one.endpointType),
      cell("Event type", "", h("span", { title: one.eventType }, typeName(one.eventType))),
      cell("Event time", "nowrap", since(one.eventTime)),
      cell("Last processed", "nowrap", since(one.lastProcessedAt)),
      cell(
        "Status",
        "",
        badge(STATUS[one.status] ?? STATUS.pending),
        one.nextAttemptAt ? h("span", { class: "quiet small next" }, "next ", countdown(one.nextAttemptAt)) : null,
      ),
      cell("Retries", "number", count(one.retries)),
      cell(
        "Error",
        "",
        one.errorMessage
          ? h("span", { title: (ERRORS[one.errorMessage] ?? [])[1] }, error, answer)
          : h("span", { class: "quiet" }, "–"),
      ),
    );
  }

  function drawSelection() {
    const head = document.getElementById("select-page");
    if (head) {
      head.checked = selected.size > 0 && selected.size === shown.length;
      head.indeterminate = selected.size > 0 && selected.size < shown.length;
    }
    tools.hidden = selected.size === 0;
    fillWith(
      tools,
      h("strong", { role: "status", id: "selected-count" }, `${count(selected.size)} selected`),
      h(
        "div",
        { class: "row" },
        button(`Push ${selected.size === 1 ? "it" : "them"} again`, {
          icon: "repush",
          kind: "small",
          id: "repush-selected",
          onclick: () => {
            const ids = [...selected];
            selected = new Set();
            repush(ids, () => reload());
          },
        }),
        button("None", {
          kind: "small plain",
          label: "Select none",
          onclick: () => {
            selected = new Set();
            for (const box of list.querySelectorAll("tbody .pick input")) mark(box, false);
            drawSelection();
          },
        }),
      ),
    );
  }

  async function drawJobs() {
    try {
      const { data } = await get("jobs", { query: [["page[size]", "10"]], signal });
      const real = data.filter((job) => !job.attributes.dryRun).slice(0, 5);
      const states = { pending: "Waiting", running: "At work", done: "Done", cancelled: "Cancelled" };
      jobs.hidden = real.length === 0;
      fillWith(
        jobs,
        h("h2", { id: "jobs-title" }, "Latest jobs"),
        h(
          "ul",
          { class: "lines" },
          real.map(({ id, attributes }) =>
            h(
              "li",
              {},
              h("strong", {}, attributes.action === "repush" ? "Push again" : "Change flags"),
              ` ${states[attributes.state]}: ${count(attributes.processed)} of ${attributes.total === null ? "?" : many(attributes.total, "notification")}`,
              attributes.failed ? `, ${count(attributes.failed)} not there any more` : "",
              " · ",
              at(attributes.createdAt),
              attributes.endedAt || document.querySelector(`[data-job="${id}"]`)
                ? null
                : [
                    " ",
                    button("Watch", {
                      kind: "small",
                      onclick: () => watch({ id, attributes }, { doing: "A job at work", did: "Done", ondone: reload }),
                    }),
                  ],
            ),
          ),
        ),
      );
    } catch (error) {
      if (!error.aborted) fillWith(jobs, h("p", { class: "quiet" }, `The jobs could not be loaded: ${error.message}`));
    }
  }

  const looking = setInterval(() => {
    const busy = shown.some((row) => row.attributes.status === "pending");
    if (
      busy &&
      !document.hidden &&
      selected.size === 0 &&
      !place.contains(document.activeElement) &&
      !document.querySelector("dialog[open]")
    )
      reload();
  }, 4000);
  signal.addEventListener("abort", () => clearInterval(looking));

  panel.open = FILTERS.some((column) => column.name !== "status" && ends(column).some((end) => query.get(end)));
  // After the frame stands: it looks for its parts.
  queueMicrotask(() => {
    drawForm();
    reload();
  });
  return {
    update: (next) => {
      asked = next;
      drawForm();
      reload();
    },
    keys: (event) => {
      if (event.key !== "/") return false;
      panel.open = true;
      form.querySelector("input").focus();
      return true;
    },
  };
}
