// Tenants and their keys, for the operator: made, shown once, used, revoked.

import { cursor, get, patch, post, remove } from "./api.js";
import { fillWith, h } from "./dom.js";
import { icon } from "./icons.js";
import { ask, badge, button, complain, copyButton, empty, head, load, toast } from "./parts.js";
import { go, href } from "./router.js";
import { at, since } from "./time.js";
import { HEALTH, ROLES, count } from "./words.js";

export function tenants(all) {
  return all.path.length > 1 ? oneTenant(all) : everyTenant(all);
}

/** Shows what is shown only now. */
function once(title, rows) {
  return ask({
    title,
    agree: "I have kept it",
    cancel: null,
    wide: true,
    firm: true,
    body: [
      h("p", {}, icon("warn"), " It is shown only now, and can’t be shown again. Copy it before you go on."),
      h(
        "dl",
        { class: "secrets" },
        rows.map(([name, value]) => [
          h("dt", {}, name),
          h("dd", {}, h("code", { id: "secret" }, value), copyButton(value, name)),
        ]),
      ),
    ],
  });
}

const field = (id, label, attributes = {}) =>
  h(
    "div",
    { class: "field" },
    h("label", { for: id }, label),
    h("input", { id, name: id, type: "text", required: true, maxlength: 255, autocomplete: "off", ...attributes }),
  );

function everyTenant({ place, query, signal }) {
  const body = h("div", {});
  fillWith(
    place,
    head("Tenants", button("New tenant", { icon: "plus", kind: "primary", id: "new-tenant", onclick: create })),
    body,
  );

  async function create() {
    const name = await ask({
      title: "New tenant",
      agree: "Create",
      result: (form) => new FormData(form).get("tenant-name").trim(),
      body: field("tenant-name", "Name", { autofocus: true, placeholder: "Acme" }),
    });
    if (!name) return;
    try {
      const { data } = await post("tenants", { data: { type: "tenant", attributes: { name } } });
      await once(`${name} was created`, [["Signing secret", data.attributes.signingSecret]]);
      go(`tenants/${data.id}`);
    } catch (error) {
      complain(error);
    }
  }

  async function draw(asked) {
    const parameters = [["page[size]", "100"]];
    for (const end of ["after", "before"]) if (asked.get(end)) parameters.push([`page[${end}]`, asked.get(end)]);
    await load(
      body,
      async () => {
        const { data, links } = await get("tenants", { query: parameters, signal });
        if (data.length === 0)
          return empty(
            "No tenants yet",
            "A tenant is one customer of your application: with its own push URL, its own keys and its own numbers.",
            button("New tenant", { icon: "plus", kind: "primary", onclick: create }),
          );
        const [prev, next] = [cursor(links.prev), cursor(links.next)];
        const turn = ([name, value]) => go("tenants", { [name === "page[after]" ? "after" : "before"]: value });
        return [
          h(
            "table",
            { class: "cards", role: "table", "aria-label": "Tenants" },
            h(
              "thead",
              { role: "rowgroup" },
              h(
                "tr",
                { role: "row" },
                ["Name", "Created", "Id"].map((name) => h("th", { scope: "col", role: "columnheader" }, name)),
              ),
            ),
            h(
              "tbody",
              { role: "rowgroup" },
              data.map(({ id, attributes }) =>
                h(
                  "tr",
                  { role: "row", "data-id": id },
                  h(
                    "td",
                    { role: "cell", "data-name": "Name" },
                    h("a", { href: href(`tenants/${id}`) }, attributes.name),
                  ),
                  h("td", { role: "cell", "data-name": "Created" }, since(attributes.createdAt)),
                  h("td", { role: "cell", "data-name": "Id" }, h("code", {}, id)),
                ),
              ),
            ),
          ),
          prev || next
            ? h(
                "nav",
                { class: "pager", "aria-label": "Pages" },
                button("Before", { icon: "back", disabled: !prev, onclick: () => turn(prev) }),
                button("After", { icon: "next", kind: "flip", disabled: !next, onclick: () => turn(next) }),
              )
            : null,
        ];
      },
      { what: "Loading the tenants" },
    );
  }

  draw(query);
  return { update: draw, keys: (event) => event.key === "c" && (create(), true) };
}

function oneTenant({ place, path, signal }) {
  const [, id] = path;
  const at_ = `tenants/${encodeURIComponent(id)}`;
  const title = head(
    "Tenant",
    button("Rename", { id: "rename", onclick: () => rename() }),
    button("Delete", { icon: "remove", kind: "danger", id: "delete", onclick: () => erase() }),
  );
  const body = h("div", {});
  fillWith(place, h("a", { class: "back", href: href("tenants"), id: "back" }, icon("back"), "Tenants"), title, body);
  let tenant = null;

  async function draw() {
    await load(
      body,
      async () => {
        const [found, keys, overview] = await Promise.all([
          get(at_, { signal }).catch((error) => {
            if (error.status === 404) return null;
            throw error;
          }),
          get(`${at_}/api-keys`, { signal }).catch((error) => {
            if (error.status === 404) return null;
            throw error;
          }),
          get("overview", { signal }).catch(() => null),
        ]);
        if (!found)
          return empty(
            "Not here",
            "There is no such tenant: it was deleted, or never was.",
            h("a", { class: "button", href: href("tenants") }, "All tenants"),
          );
        tenant = found.data;
        title.querySelector("h1").textContent = tenant.attributes.name;
        document.title = `${tenant.attributes.name} · Tidings`;
        const health = overview?.data.find((one) => one.id === id)?.attributes;
        return [
          h(
            "section",
            { class: "panel", "aria-labelledby": "about-title" },
            h("h2", { id: "about-title" }, "About"),
            h(
              "dl",
              { class: "facts" },
              [
                ["Id", [h("code", {}, id), " ", copyButton(id, "Id")]],
                ["Created", at(tenant.attributes.createdAt)],
                health
                  ? [
                      "Push",
                      [
                        badge(HEALTH[health.push.state] ?? HEALTH.none),
                        health.push.reason ? ` ${health.push.reason}` : "",
                      ],
                    ]
                  : null,
                health
                  ? [
                      "Undelivered",
                      [
                        count(health.undelivered),
                        health.oldestUndeliveredAt ? [", oldest ", since(health.oldestUndeliveredAt)] : "",
                      ],
                    ]
                  : null,
              ]
                .filter(Boolean)
                .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
            ),
          ),
          h(
            "section",
            { class: "panel flush", "aria-labelledby": "keys-title" },
            h(
              "div",
              { class: "row between" },
              h("h2", { id: "keys-title" }, "Keys"),
              button("New key", { icon: "key", kind: "primary", id: "new-key", onclick: () => create() }),
            ),
            keys.data.length === 0
              ? empty("No keys yet", "Without a key nobody can post or read for this tenant.")
              : table(keys.data),
          ),
        ];
      },
      { quietly: tenant !== null, what: "Loading the tenant" },
    );
  }

  function table(keys) {
    const cell = (name, ...content) => h("td", { role: "cell", "data-name": name }, h("span", {}, content));
    return h(
      "table",
      { class: "cards", role: "table", "aria-labelledby": "keys-title" },
      h(
        "thead",
        { role: "rowgroup" },
        h(
          "tr",
          { role: "row" },
          ["Name", "Role", "Last used", "Created", ""].map((name) =>
            h("th", { scope: "col", role: "columnheader" }, name || h("span", { class: "unseen" }, "Actions")),
          ),
        ),
      ),
      h(
        "tbody",
        { role: "rowgroup" },
        keys.map((key) =>
          h(
            "tr",
            { role: "row", "data-id": key.id },
            cell("Name", h("strong", {}, key.attributes.name)),
            cell(
              "Role",
              h(
                "span",
                { class: "tag", title: (ROLES[key.attributes.role] ?? [])[1] },
                (ROLES[key.attributes.role] ?? [key.attributes.role])[0],
              ),
            ),
            cell(
              "Last used",
              key.attributes.lastUsedAt ? since(key.attributes.lastUsedAt) : h("span", { class: "quiet" }, "never"),
            ),
            cell("Created", since(key.attributes.createdAt)),
            h(
              "td",
              { role: "cell", class: "acts" },
              button("Revoke", {
                kind: "small danger",
                label: `Revoke the key ${key.attributes.name}`,
                onclick: () => revoke(key),
              }),
            ),
          ),
        ),
      ),
    );
  }

  async function create() {
    const roles = Object.entries(ROLES)
      .filter(([role]) => role !== "operator")
      .map(([role, [word, does]], first) =>
        h(
          "label",
          { class: "check block" },
          h("input", { type: "radio", name: "role", value: role, checked: first === 1 }),
          h("span", {}, h("strong", {}, word), h("span", { class: "quiet" }, ` ${does}`)),
        ),
      );
    const made = await ask({
      title: "New key",
      agree: "Create",
      result: (form) => Object.fromEntries(new FormData(form)),
      body: [
        field("key-name", "What is it for?", { autofocus: true, placeholder: "archive" }),
        h("fieldset", {}, h("legend", {}, "It may"), roles),
      ],
    });
    if (!made) return;
    try {
      const { data } = await post(`${at_}/api-keys`, {
        data: { type: "apiKey", attributes: { name: made["key-name"].trim(), role: made.role } },
      });
      await once(`The key “${data.attributes.name}”`, [["Key", data.attributes.key]]);
      await draw();
      document.getElementById("new-key")?.focus();
    } catch (error) {
      complain(error);
    }
  }

  async function revoke(key) {
    const used = key.attributes.lastUsedAt
      ? ["It was last used ", since(key.attributes.lastUsedAt), ". "]
      : "It was never used. ";
    const agreed = await ask({
      title: `Revoke “${key.attributes.name}”?`,
      agree: "Revoke",
      tone: "danger",
      body: h("p", {}, used, "Whoever uses it is refused from now on. It can’t be taken back."),
    });
    if (!agreed) return;
    try {
      await remove(`${at_}/api-keys/${key.id}`);
      toast("Revoked");
      await draw();
    } catch (error) {
      complain(error);
    }
  }

  async function rename() {
    if (!tenant) return;
    const name = await ask({
      title: "Rename",
      agree: "Rename",
      result: (form) => new FormData(form).get("tenant-name").trim(),
      body: field("tenant-name", "Name", { autofocus: true, value: tenant.attributes.name }),
    });
    if (!name || name === tenant.attributes.name) return;
    try {
      await patch(at_, { data: { type: "tenant", id, attributes: { name } } });
      toast("Renamed");
      await draw();
    } catch (error) {
      complain(error);
    }
  }

  async function erase() {
    if (!tenant) return;
    const { name } = tenant.attributes;
    const typed = await ask({
      title: `Delete ${name}?`,
      agree: "Delete for good",
      tone: "danger",
      result: (form) => new FormData(form).get("tenant-name"),
      body: [
        h(
          "p",
          {},
          "Its notifications, keys and settings are gone for good. Nothing of it can be pulled or pushed any more.",
        ),
        field("tenant-name", `Type its name, ${name}, to agree`, { autofocus: true }),
      ],
    });
    if (typed === null) return;
    if (typed.trim() !== name) {
      toast("That was not its name: nothing was deleted", { tone: "bad" });
      return;
    }
    try {
      await remove(at_);
      toast(`${name} was deleted`);
      go("tenants");
    } catch (error) {
      complain(error);
    }
  }

  draw();
  return {};
}
