// Posts an event by hand: for a first try, and for whoever has only a producer's key.

import { post } from "./api.js";
import { fillWith, h } from "./dom.js";
import { KNOWN_TYPES } from "./fields.js";
import { button, code, head } from "./parts.js";
import { href } from "./router.js";

export function postEvent({ place, session, signal }) {
  const result = h("div", { id: "post-result", "aria-live": "polite" });
  const problem = (id) => h("p", { class: "problem", id: `${id}-problem` });
  const field = (id, label, control, help) => {
    control.id = id;
    control.setAttribute("aria-describedby", `${id}-help ${id}-problem`);
    return h(
      "div",
      { class: "setting" },
      h("div", { class: "names" }, h("label", { for: id }, label), h("p", { class: "help", id: `${id}-help` }, help)),
      h("div", { class: "control" }, control, problem(id)),
    );
  };
  const type = h("input", {
    type: "text",
    value: "close",
    list: "known-types",
    required: true,
    autocomplete: "off",
    spellcheck: "false",
  });
  const comment = h("input", { type: "text", autocomplete: "off" });
  const entity = h("input", { type: "text", placeholder: "experiment:12", autocomplete: "off", spellcheck: "false" });
  const data = h("textarea", { rows: 5, placeholder: '{\n  "amount": 100\n}', spellcheck: "false" });
  const submit = h("button", { type: "submit", class: "button primary", id: "post" }, "Post");
  const form = h(
    "form",
    {
      class: "panel",
      onsubmit: (event) => {
        event.preventDefault();
        send();
      },
    },
    field("event-type", "Type", type, "One of Signals Notebook’s, or a name of your own."),
    field("event-comment", "Comment", comment, "May be empty."),
    field("event-entity", "About", entity, "The id of the entity it happened to. May be empty."),
    field("event-data", "Data", data, "An object of the event’s own fields, as JSON. May be empty."),
    h(
      "datalist",
      { id: "known-types" },
      KNOWN_TYPES.map(([name, word]) => h("option", { value: name }, word)),
    ),
    h("div", { class: "row end" }, submit),
  );
  fillWith(
    place,
    head("Post an event"),
    h(
      "p",
      { class: "quiet" },
      session.role === "producer"
        ? "This key posts events. It can’t read them: ask for a consumer’s or an admin’s key to see more."
        : "Events usually come from your application. This is for a first try.",
    ),
    form,
    result,
  );

  const tell = (id, text) => {
    document.getElementById(`${id}-problem`).textContent = text;
    const control = document.getElementById(id);
    if (text) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
    if (text) control.focus();
  };

  async function send() {
    for (const id of ["event-type", "event-comment", "event-entity", "event-data"]) tell(id, "");
    const attributes = { type: type.value.trim() };
    if (comment.value !== "") attributes.comment = comment.value;
    if (data.value.trim() !== "") {
      try {
        attributes.data = JSON.parse(data.value);
      } catch (error) {
        return tell("event-data", `This is no JSON: ${error.message}`);
      }
    }
    const event = { type: "notification", attributes };
    if (entity.value.trim() !== "")
      event.relationships = { entity: { data: { type: "entity", id: entity.value.trim() } } };
    submit.disabled = true;
    try {
      const answer = await post("notifications", { data: event }, { signal });
      const id = answer.data?.id;
      return fillWith(
        result,
        h(
          "section",
          { class: "panel good" },
          h("h2", {}, id ? `Stored as number ${id}` : "Not stored"),
          id
            ? session.role === "admin"
              ? h("p", {}, h("a", { href: href(`notifications/${id}`), id: "posted" }, "See what becomes of it"))
              : null
            : h("p", {}, `The tenant’s settings do not select it: ${answer.meta?.reason ?? ""}`),
          code(JSON.stringify(answer, null, 2), "The answer"),
        ),
      );
    } catch (error) {
      if (error.aborted) return null;
      const pointer = error.errors?.[0]?.source?.pointer ?? "";
      const id = pointer.includes("/entity")
        ? "event-entity"
        : { type: "event-type", comment: "event-comment", data: "event-data" }[pointer.split("/")[3]];
      if (id) return tell(id, error.message);
      return fillWith(
        result,
        h(
          "section",
          { class: "panel bad", role: "alert" },
          h("h2", {}, "Not stored"),
          h("p", {}, error.message),
          button("Try again", { onclick: () => send() }),
        ),
      );
    } finally {
      submit.disabled = false;
    }
  }
  return {};
}
