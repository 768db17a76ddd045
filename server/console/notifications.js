// The list of notifications: searched, flagged and pushed again by mouse and by keyboard, and followed as it grows.

import { counted, repush, repushAll, setAll, setFlags, undo } from "./actions.js";
import { cursor, get, newest } from "./api.js";
import { fillWith, h } from "./dom.js";
import { QUALIFIERS, read } from "./filters.js";
import { icon } from "./icons.js";
import { announce, button, complain, head, load, pager } from "./parts.js";
import { go, here, href } from "./router.js";
import { index, paint } from "./row.js";
import { follow } from "./tail.js";
import { nothing, views } from "./views.js";
import { count, many } from "./words.js";

const SIZE = "50";
/** How often what waits is looked at again, in milliseconds. */
const LOOK = 5000;
/** More than so many new ones are not kept while one reads: the list is read anew. */
const KEPT = 200;

/** The address of the list as it was last, for the way back. */
export let lastList = href("notifications");
/** The one that was opened from it: there one goes on. */
let opened = null;

export function notifications({ place, query, session, signal }) {
  const isAdmin = session.role === "admin";
  let text = query.get("q") ?? "";
  let asked = read(text);
  let rows = new Map();
  let selected = new Set();
  /** `{total, upTo}` while all that match are selected. */
  let whole = null;
  let current = null;
  let page = null;
  let fresh = [];
  let isLive = query.get("live") !== "off";
  let tail = new AbortController();
  let stats = null;

  const search = h("input", {
    type: "search",
    id: "search",
    name: "q",
    value: text,
    placeholder: "type:close entity:… pushed:failed since:2h",
    autocomplete: "off",
    spellcheck: "false",
    autocapitalize: "off",
    "aria-label": "Search by qualifiers",
    "aria-describedby": "search-problem",
  });
  const problem = h("p", { id: "search-problem", class: "problem", role: "status" });
  const hints = h(
    "div",
    { class: "hints row", "aria-label": "Qualifiers", role: "group" },
    QUALIFIERS.map((name) => button(name, { kind: "small plain", onclick: () => hint(name) })),
  );
  const chips = h("nav", { class: "chips", "aria-label": "Views", id: "views" });
  const tools = h("div", {
    class: "selection",
    id: "selection",
    role: "region",
    "aria-label": "Selected notifications",
    hidden: true,
  });
  const arrived = button("", {
    kind: "arrived",
    icon: "live",
    id: "arrived",
    hidden: true,
    onclick: () => flush(true),
  });
  const list = h("div", { id: "list" });
  const live = button("Live", { icon: "live", id: "live-toggle", onclick: () => toggleLive() });
  const trouble = h("p", { class: "problem", role: "status" });

  fillWith(
    place,
    head(
      "Notifications",
      live,
      button("Refresh", { icon: "repush", id: "refresh", label: "Refresh", onclick: () => reload() }),
    ),
    h(
      "form",
      {
        class: "search",
        role: "search",
        onsubmit: (event) => {
          event.preventDefault();
          searchFor(search.value);
        },
      },
      h(
        "div",
        { class: "row nowrap" },
        icon("search"),
        search,
        h("button", { class: "button", type: "submit" }, "Search"),
      ),
      hints,
      problem,
    ),
    chips,
    trouble,
    tools,
    arrived,
    list,
  );

  function hint(name) {
    search.value = `${search.value.trim()} ${name}`.trim();
    search.focus();
  }

  const searchFor = (words) => go("notifications", { q: words.trim(), live: isLive ? "" : "off" });

  const drawChips = () => fillWith(chips, views(text, stats, isLive));

  let counting;
  function countSoon(after = 400) {
    clearTimeout(counting);
    counting = setTimeout(async () => {
      try {
        stats = (await get("statistics", { query: [["hours", "1"]], signal })).data.attributes;
        drawChips();
      } catch {
        /* Without counts the views work all the same. */
      }
    }, after);
  }

  const filter = () => ({ "filter[isDismissed]": "false", ...asked.filter });

  function drawLive() {
    const works = isLive && asked.sort === "-sequence" && !page;
    live.setAttribute("aria-pressed", String(isLive));
    live.classList.toggle("on", works);
    live.title = works
      ? "New notifications appear by themselves, unless you are reading"
      : "New notifications do not appear here by themselves";
  }

  function toggleLive() {
    isLive = !isLive;
    announce(isLive ? "Following what arrives" : "Not following");
    go("notifications", { q: text, live: isLive ? "" : "off" }, { replace: true });
  }

  /** Reads the list. */
  async function reload() {
    tail.abort();
    tail = new AbortController();
    const mine = tail.signal;
    signal.addEventListener("abort", () => tail.abort(), { signal: mine });
    fresh = [];
    drawArrived();
    lastList = location.hash;
    drawChips();
    drawLive();
    countSoon(0);
    problem.textContent = asked.problems.join(". ");
    search.toggleAttribute("aria-invalid", asked.problems.length > 0);
    trouble.textContent = "";
    const parameters = [...Object.entries(filter()), ["sort", asked.sort], ["page[size]", SIZE]];
    if (page) parameters.push(page);
    let end = null;
    const done = await load(
      list,
      async () => {
        // The end comes first: what arrives between the two is found by following, and shown once.
        end = page || !isLive || asked.sort !== "-sequence" ? null : await newest(mine);
        return draw(await get("notifications", { query: parameters, signal: mine }), end);
      },
      { quietly: rows.size > 0, what: "Loading notifications" },
    );
    if (opened && rows.has(opened)) {
      const link = rows.get(opened).element.querySelector("[data-part=link]");
      link.focus();
      link.scrollIntoView({ block: "center" });
    }
    opened = null;
    if (done && end !== null) {
      const tell = (words) => (trouble.textContent = words && `${words} Trying again.`);
      if (await follow(filter(), end, take, tell, mine)) reload();
    }
  }

  function draw(answer, end) {
    rows = new Map();
    selected = new Set();
    whole = null;
    drawSelection();
    if (answer.data.length === 0)
      return nothing({
        text,
        isInside: page !== null,
        isNew: end === "0" || stats?.notifications.total === 0,
        isAdmin,
      });
    const included = index(answer);
    const body = h(
      "tbody",
      { role: "rowgroup" },
      answer.data.map((item) => make(item, included)),
    );
    const all = h("input", {
      type: "checkbox",
      id: "select-page",
      "aria-label": "Select all on this page",
      onchange: () => {
        for (const id of rows.keys()) mark(id, all.checked);
        drawSelection();
      },
    });
    const names = [
      ["What", "what"],
      ["About", "about"],
      ["By", "by"],
      ["When", "when"],
      ["Push", "push"],
    ];
    return [
      h(
        "table",
        { class: "list", role: "table", "aria-label": "Notifications" },
        h(
          "thead",
          { role: "rowgroup" },
          h(
            "tr",
            { role: "row" },
            h("th", { scope: "col", role: "columnheader", class: "pick" }, all),
            names.map(([name, kind]) => h("th", { scope: "col", role: "columnheader", class: kind }, name)),
            h("th", { scope: "col", role: "columnheader", class: "acts" }, h("span", { class: "unseen" }, "Actions")),
          ),
        ),
        body,
      ),
      pager(cursor(answer.links.prev), cursor(answer.links.next), turn),
    ];
  }

  const turn = ([name, value]) =>
    go("notifications", { q: text, live: isLive ? "" : "off", [name === "page[after]" ? "after" : "before"]: value });

  function make(item, included) {
    const row = { item, included, element: h("tr", { role: "row", "data-id": item.id, id: `row-${item.id}` }) };
    row.element.addEventListener("focusin", () => (current = item.id));
    rows.set(item.id, row);
    return repaint(row);
  }

  const repaint = (row) =>
    paint(row, selected.has(row.item.id), {
      pick: (on) => {
        mark(row.item.id, on);
        drawSelection();
      },
      set: (flags) => change([row], flags),
      open: () => (opened = row.item.id),
    });

  function mark(id, on) {
    if (on) selected.add(id);
    else selected.delete(id);
    whole = null;
    const { element } = rows.get(id);
    element.classList.toggle("picked", on);
    element.querySelector(".pick input").checked = on;
  }

  function drawSelection() {
    const all = document.getElementById("select-page");
    if (all) {
      all.checked = selected.size > 0 && selected.size === rows.size;
      all.indeterminate = selected.size > 0 && selected.size < rows.size;
    }
    const number = whole ? whole.total : selected.size;
    tools.hidden = number === 0;
    if (number === 0) return;
    const on = document.activeElement?.dataset?.act;
    const act = (text, picture, set) =>
      button(text, { icon: picture, kind: "small", "data-act": text, onclick: () => changeSelected(set) });
    const more = isAdmin && !whole && selected.size === rows.size && rows.size >= Number(SIZE);
    fillWith(
      tools,
      h(
        "strong",
        { role: "status", id: "selected-count" },
        whole ? `All ${count(number)} that match` : `${count(number)} selected`,
      ),
      more
        ? button("Select all that match", {
            kind: "small plain",
            id: "select-all",
            "data-act": "all",
            onclick: () => selectAll(),
          })
        : null,
      h(
        "div",
        { class: "row" },
        act("Read", "read", { isRead: true }),
        act("Unread", "unread", { isRead: false }),
        act("Flag", "flag", { isFlagged: true }),
        act("Unflag", "flag", { isFlagged: false }),
        act("Dismiss", "dismiss", { isDismissed: true }),
        act("Put back", "restore", { isDismissed: false }),
        isAdmin
          ? button("Push again", {
              icon: "repush",
              kind: "small",
              id: "repush-selected",
              "data-act": "repush",
              onclick: () => pushSelected(),
            })
          : null,
        button("None", {
          kind: "small plain",
          label: "Select none",
          id: "select-none",
          "data-act": "none",
          onclick: () => {
            for (const id of rows.keys()) mark(id, false);
            drawSelection();
            search.focus();
          },
        }),
      ),
    );
    if (on) tools.querySelector(`[data-act="${on}"]`)?.focus();
  }

  async function selectAll() {
    const asking = document.getElementById("select-all");
    fillWith(asking, "Counting …");
    asking.disabled = true;
    try {
      const upTo = await newest(signal);
      const total = await counted("update", { isRead: true }, filter(), upTo, signal);
      whole = { total, upTo };
    } catch (error) {
      complain(error);
    }
    drawSelection();
    tools.querySelector("button:not(#select-all)")?.focus();
  }

  const picked = () => [...selected].map((id) => rows.get(id)).filter(Boolean);

  function changeSelected(set) {
    if (whole) return setAll(filter(), set, whole.upTo, whole.total, () => reload());
    return change(picked(), set);
  }

  function pushSelected() {
    if (whole) return repushAll(filter(), "All that match this search are meant.", () => reload(), whole.upTo);
    return repush([...selected], () => look());
  }

  async function change(those, set) {
    const apply = (id, flags) => {
      const row = rows.get(id);
      if (!row) return;
      Object.assign(row.item.attributes, flags);
      repaint(row);
    };
    await setFlags(
      those.map((row) => row.item),
      set,
      apply,
    );
    countSoon();
  }

  /** Shows how what is on the page is now, without moving anything. */
  async function look() {
    if (document.hidden || rows.size === 0) return;
    const ids = [...rows.keys()].map(Number);
    const query = [
      ["filter[isDismissed]", "true,false"],
      ["sort", "-sequence"],
      ["page[size]", String(Math.min(1000, Math.max(...ids) - Math.min(...ids) + 1))],
      ["page[after]", String(Math.max(...ids) + 1)],
    ];
    try {
      for (const item of (await get("notifications", { query, signal })).data) {
        const row = rows.get(item.id);
        if (
          !row ||
          JSON.stringify([row.item.attributes, row.item.meta]) === JSON.stringify([item.attributes, item.meta])
        )
          continue;
        row.item = item;
        repaint(row);
      }
    } catch {
      /* It is looked at again soon. */
    }
  }

  const looking = setInterval(() => {
    if ([...rows.values()].some(({ item }) => item.meta?.push.state === "pending")) look();
  }, LOOK);
  signal.addEventListener("abort", () => {
    clearInterval(looking);
    clearTimeout(counting);
  });

  /** Whether the list must hold still. */
  const isReading = () =>
    list.matches(":hover") || list.contains(document.activeElement) || selected.size > 0 || scrollY > 300;

  function take(answer) {
    fresh.push(answer);
    countSoon();
    flush(false);
  }

  function flush(asked) {
    if (fresh.length > 0 && (asked || !isReading())) {
      const total = fresh.reduce((sum, { data }) => sum + data.length, 0);
      const body = list.querySelector("tbody");
      if (total > KEPT || !body) {
        reload();
        return;
      }
      for (const answer of fresh) {
        const included = index(answer);
        for (const item of answer.data) {
          if (rows.has(item.id)) continue;
          const element = make(item, included);
          element.classList.add("new");
          body.prepend(element);
        }
      }
      while (rows.size > KEPT) {
        const last = body.lastElementChild;
        rows.delete(last.dataset.id);
        selected.delete(last.dataset.id);
        last.remove();
      }
      fresh = [];
      announce(`${many(total, "new notification")}`);
      drawSelection();
      if (asked) body.querySelector("a")?.focus();
    }
    drawArrived();
  }

  function drawArrived() {
    const waiting = fresh.reduce((sum, { data }) => sum + data.length, 0);
    arrived.hidden = waiting === 0;
    fillWith(arrived, icon("live"), h("span", {}, `${many(waiting, "new notification")}. Show`));
  }

  list.addEventListener("pointerleave", () => setTimeout(() => flush(false), 600));
  list.addEventListener("focusout", () => setTimeout(() => flush(false), 600));

  function step(by) {
    const ids = [...list.querySelectorAll("tbody tr")].map((row) => row.dataset.id);
    if (ids.length === 0) return;
    const at = ids.indexOf(current);
    const to = at < 0 ? 0 : Math.min(ids.length - 1, Math.max(0, at + by));
    const link = rows.get(ids[to]).element.querySelector("[data-part=link]");
    link.focus();
    link.closest("tr").scrollIntoView({ block: "nearest" });
  }

  function keys(event) {
    const row = rows.get(current);
    const toggle = (flag) =>
      row && change(selected.size > 0 ? picked() : [row], { [flag]: !row.item.attributes[flag] });
    switch (event.key) {
      case "j":
        step(1);
        return true;
      case "k":
        step(-1);
        return true;
      case "/":
        search.focus();
        search.select();
        return true;
      case "l":
        toggleLive();
        return true;
      case "z":
        undo();
        return true;
      case "x":
        toggle("isDismissed");
        return true;
      case "r":
        toggle("isRead");
        return true;
      case "f":
        toggle("isFlagged");
        return true;
      case "p":
        if (isAdmin && selected.size > 0) pushSelected();
        else if (isAdmin && row) repush([row.item.id], () => look());
        return true;
      case "Enter":
        if (row && !/^(A|BUTTON)$/.test(event.target.tagName)) go(`notifications/${row.item.id}`);
        return false;
      case " ":
        if (!row || event.target.tagName !== "A") return false;
        mark(row.item.id, !selected.has(row.item.id));
        drawSelection();
        return true;
      default:
        return false;
    }
  }

  search.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    search.blur();
    step(0);
  });

  function show(query) {
    text = query.get("q") ?? "";
    isLive = query.get("live") !== "off";
    asked = read(text);
    if (asked.id && asked.problems.length === 0) {
      go(`notifications/${asked.id}`, {}, { replace: true });
      return;
    }
    if (document.activeElement !== search || here().query.get("q") === text) search.value = text;
    page = query.has("after")
      ? ["page[after]", query.get("after")]
      : query.has("before")
        ? ["page[before]", query.get("before")]
        : null;
    current = null;
    reload();
  }

  // The frame must know this screen before it leads to another one.
  queueMicrotask(() => show(query));
  return { update: show, keys };
}
