// The way in: a key is asked for.

import { call, key } from "./api.js";
import { h } from "./dom.js";
import { icon } from "./icons.js";

/** Which key it is, as a session. */
export async function identify(candidate) {
  const { data, included } = await call("GET", "api-key", candidate === undefined ? {} : { withKey: candidate });
  const tenant = included?.find((resource) => resource.type === "tenant") ?? data.relationships?.tenant?.data ?? null;
  return { role: data.attributes.role, name: data.attributes.name, tenant, tenantName: tenant?.attributes?.name ?? "" };
}

/** Shows the form. `enter(session)` is called with a key that works. */
export function login(place, enter, message = "") {
  const field = h("input", {
    id: "key",
    name: "key",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    autocapitalize: "off",
    required: true,
    "aria-describedby": "key-help key-error",
    placeholder: "tidings_admin_…",
  });
  const problem = h("p", { id: "key-error", class: "problem", role: "alert" }, message);
  const submit = h("button", { type: "submit", class: "button primary", id: "login" }, "Open");
  const reveal = h("input", {
    type: "checkbox",
    id: "reveal",
    onchange: () => (field.type = reveal.checked ? "text" : "password"),
  });
  const onsubmit = async (event) => {
    event.preventDefault();
    const given = field.value.trim();
    if (given === "") {
      problem.textContent = "A key is needed.";
      return field.focus();
    }
    submit.disabled = true;
    submit.textContent = "Opening …";
    problem.textContent = "";
    try {
      if (/[^\x21-\x7e]/.test(given))
        throw new Error("A key has no spaces and no unusual characters. Was all of it copied, and only it?");
      const session = await identify(given);
      key.set(given);
      return enter(session);
    } catch (error) {
      field.setAttribute("aria-invalid", "true");
      problem.textContent = error.message;
      submit.disabled = false;
      submit.textContent = "Open";
      return field.focus();
    }
  };
  place.replaceChildren(
    h(
      "main",
      { class: "login", id: "main" },
      h(
        "div",
        { class: "login-card" },
        h("img", { src: "console/icon.svg", alt: "", width: 40, height: 40 }),
        h("h1", { tabindex: "-1", id: "title" }, "Tidings"),
        h("p", { class: "quiet" }, "What was sent, what wasn’t, and why."),
        h(
          "form",
          { onsubmit, novalidate: true, "aria-labelledby": "title" },
          h("label", { for: "key" }, "Key"),
          field,
          h("label", { class: "check" }, reveal, "Show the key"),
          problem,
          submit,
        ),
        h(
          "p",
          { class: "quiet small", id: "key-help" },
          "A key of a tenant, or the operator’s. The server prints them when it starts for the first time. It is kept for this tab only, and never stands in an address.",
        ),
        h("p", { class: "small" }, h("a", { href: "docs/" }, icon("docs"), "The description of the interface")),
      ),
    ),
  );
  field.focus();
  document.title = "Tidings";
}
