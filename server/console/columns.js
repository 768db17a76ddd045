// The columns of the push queue, and the fields by which they are filtered.

import { h } from "./dom.js";
import { ERRORS, STATUS } from "./words.js";

/** The columns: the name on the wire, how it is headed, and how it is filtered. */
export const COLUMNS = [
  { name: "id", title: "Number", kind: "text", hint: "519,520", mode: "numeric" },
  { name: "endpointType", title: "Endpoint", kind: "choice", choices: [["http", "http"]] },
  { name: "eventType", title: "Event type", kind: "text", hint: "close,sign" },
  { name: "eventTime", title: "Event time", kind: "span" },
  { name: "lastProcessedAt", title: "Last processed", kind: "span" },
  {
    name: "status",
    title: "Status",
    kind: "choice",
    choices: Object.entries(STATUS).map(([name, { word }]) => [name, word]),
  },
  { name: "retries", title: "Retries", kind: "text", hint: "1,2", mode: "numeric" },
  {
    name: "errorMessage",
    title: "Error",
    kind: "choice",
    choices: Object.entries(ERRORS).map(([name, [word]]) => [name, word]),
  },
];
/** What can be filtered by besides. */
const MORE = [
  { name: "responseStatus", title: "Answer’s status", kind: "text", hint: "500,503", mode: "numeric" },
  { name: "nextAttemptAt", title: "Next attempt", kind: "span" },
];
/** Everything that can be filtered by. */
export const FILTERS = [...COLUMNS, ...MORE];

/** A time of a form's field, which is the viewer's, as an instant. */
export const instant = (text) => (text === "" ? "" : new Date(text).toISOString());
/** And back. */
const field = (text) => {
  const date = new Date(text);
  return text && !Number.isNaN(date.getTime())
    ? new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
    : "";
};

/** The names under which a filter's values stand in the address. */
export const ends = ({ name, kind }) => (kind === "span" ? [`${name}.ge`, `${name}.lt`] : [name]);
/** Such a name as a parameter of the interface. */
export const parameter = (end) =>
  end.replace(/^(\w+)(?:\.(\w+))?$/, (_, name, edge) => `filter[${name}]${edge ? `[${edge}]` : ""}`);

/** The field by which a column is filtered; `asked` has what is set. */
export function input(column, asked) {
  const id = (end) => `filter-${end.replace(".", "-")}`;
  if (column.kind === "choice") {
    return h(
      "div",
      { class: "field" },
      h("label", { for: id(column.name) }, column.title),
      h(
        "select",
        { id: id(column.name), name: column.name, value: asked.get(column.name) ?? "" },
        h("option", { value: "" }, "Any"),
        column.choices.map(([value, word]) => h("option", { value }, word)),
        asked.get(column.name)?.includes(",")
          ? h("option", { value: asked.get(column.name) }, asked.get(column.name))
          : null,
      ),
    );
  }
  if (column.kind === "span") {
    return h(
      "fieldset",
      { class: "field span" },
      h("legend", {}, column.title),
      h(
        "div",
        { class: "row nowrap" },
        ends(column).map((end, at) =>
          h(
            "label",
            {},
            h("span", {}, at === 0 ? "from" : "before"),
            h("input", { type: "datetime-local", id: id(end), name: end, value: field(asked.get(end)) }),
          ),
        ),
      ),
    );
  }
  return h(
    "div",
    { class: "field" },
    h("label", { for: id(column.name) }, column.title),
    h("input", {
      type: "text",
      id: id(column.name),
      name: column.name,
      value: asked.get(column.name) ?? "",
      placeholder: column.hint,
      inputmode: column.mode,
      autocomplete: "off",
      spellcheck: "false",
    }),
  );
}
