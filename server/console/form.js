// The fields of a form made from a description. Each has an element, and tells its value; a secret that was not typed has none.

import { GROUPS, KNOWN_TYPES } from "./fields.js";
import { fillWith, h } from "./dom.js";
import { button } from "./parts.js";

/** The member at a path such as `push.retry.attempts`. */
export const at = (object, path) => path.split(".").reduce((value, name) => value?.[name], object);

/** Sets the member at a path. */
export function put(object, path, value) {
  const names = path.split(".");
  const last = names.pop();
  let place = object;
  for (const name of names) place = place[name] ??= {};
  place[last] = value;
}

/** What must be merged into `before` (RFC 7396) so that it becomes `after`; undefined where they are the same. */
export function difference(before, after) {
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (!isObject(before) || !isObject(after))
    return JSON.stringify(before) === JSON.stringify(after) ? undefined : after;
  // Of another kind the members mean something else: it is sent whole.
  if (before.kind !== undefined && before.kind !== after.kind) return after;
  const patch = {};
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const changed = name in after ? difference(before[name], after[name]) : null;
    if (changed !== undefined) patch[name] = changed;
  }
  return Object.keys(patch).length ? patch : undefined;
}

/** What a change makes of an object (RFC 7396); null stays null. */
export function merge(before, patch) {
  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (!isObject(before) || !isObject(patch) || (patch.kind && patch.kind !== before.kind)) return patch;
  const names = Object.keys(patch).map((name) => [name, merge(before[name], patch[name])]);
  return { ...before, ...Object.fromEntries(names) };
}

const id = (path) => `field-${path.replaceAll(".", "-")}`;

const lines = (text) =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter(Boolean);

const MAKE = {
  text: (field, value) =>
    simple(
      field,
      h("input", {
        type: "text",
        value: value ?? "",
        placeholder: field.placeholder ?? field.standard,
        autocomplete: "off",
        spellcheck: "false",
      }),
    ),
  url: (field, value) =>
    simple(
      field,
      h("input", {
        type: "text",
        inputmode: "url",
        value: value ?? "",
        placeholder: "https://…",
        autocomplete: "off",
        spellcheck: "false",
      }),
    ),
  email: (field, value) =>
    simple(
      field,
      h("input", {
        type: "text",
        inputmode: "email",
        value: value ?? "",
        placeholder: "name@example.com",
        autocomplete: "off",
        spellcheck: "false",
      }),
    ),
  area: (field, value) =>
    simple(field, h("textarea", { rows: 3, value: value ?? "", placeholder: field.placeholder, spellcheck: "false" })),
  number: (field, value) => {
    const control = h("input", {
      type: "number",
      min: field.min,
      max: field.max,
      step: field.step ?? 1,
      value: value ?? "",
      placeholder: field.standard,
      inputmode: "decimal",
    });
    const made = simple(field, control, () =>
      control.validity.badInput ? control.value || "?" : control.value === "" ? null : Number(control.value),
    );
    if (field.unit) made.around = h("div", { class: "row nowrap" }, control, h("span", { class: "quiet" }, field.unit));
    return made;
  },
  numbers: (field, value) => {
    const control = h("input", {
      type: "text",
      inputmode: "numeric",
      value: (value ?? []).join(", "),
      autocomplete: "off",
    });
    return simple(field, control, () =>
      control.value
        .split(/[\s,;]+/)
        .filter(Boolean)
        .map((text) => (Number.isNaN(Number(text)) ? text : Number(text))),
    );
  },
  choice: (field, value) => {
    const control = h(
      "select",
      { value },
      field.choices.map(([name, word]) => h("option", { value: name }, word)),
    );
    return simple(field, control, () => control.value);
  },
  switch: (field, value) => {
    const control = h("input", { type: "checkbox", role: "switch", class: "switch", checked: value === true });
    return simple(field, control, () => control.checked);
  },
  secret: (field) =>
    secret(
      field,
      h("input", {
        type: "password",
        autocomplete: "new-password",
        spellcheck: "false",
        placeholder: "Not shown; empty: stays as it is",
      }),
    ),
  secretArea: (field) =>
    secret(
      field,
      h("textarea", {
        rows: 3,
        spellcheck: "false",
        autocomplete: "off",
        placeholder: "Not shown; empty: stays as it is",
      }),
    ),
  lines: (field, value) => {
    const control = h("textarea", {
      rows: Math.min(8, Math.max(2, (value ?? []).length + 1)),
      value: (value ?? []).join("\n"),
      placeholder: field.placeholder,
      spellcheck: "false",
    });
    return simple(field, control, () => lines(control.value));
  },
  kind: group,
  types,
  units: (field, value) =>
    table(
      field,
      ["Unit", "Type or group", "Switch"],
      Object.entries(value ?? {}).flatMap(([unit, switches]) =>
        Object.entries(switches).map(([type, on]) => [unit, type, on ? "on" : "off"]),
      ),
      ([unit, type, on]) => [
        text(unit, "Unit"),
        text(type, "Type or group", "allSigningEvents"),
        h(
          "select",
          { "aria-label": "Switch", value: on ?? "on" },
          h("option", { value: "on" }, "on"),
          h("option", { value: "off" }, "off"),
        ),
      ],
      (rows) =>
        rows.reduce(
          (units, [unit, type, on]) =>
            unit && type ? { ...units, [unit]: { ...units[unit], [type]: on === "on" } } : units,
          {},
        ),
      "Add a switch",
    ),
  fields: (field, value) =>
    table(
      field,
      ["Type", "Fields"],
      Object.entries(value ?? {}).map(([type, names]) => [type, names.join(", ")]),
      ([type, names]) => [text(type, "Type", "close or *"), text(names, "Fields", "comment, data.amount")],
      (rows) =>
        Object.fromEntries(
          rows.filter(([type]) => type).map(([type, names]) => [type, names.split(/[\s,]+/).filter(Boolean)]),
        ),
      "Add a type",
    ),
};

const text = (value, label, placeholder) =>
  h("input", {
    type: "text",
    value: value ?? "",
    "aria-label": label,
    placeholder,
    autocomplete: "off",
    spellcheck: "false",
  });

function simple(field, control, value = () => (control.value.trim() === "" ? null : control.value.trim())) {
  return { field, control, value };
}

function secret(field, control) {
  return { field, control, value: () => (control.value === "" ? undefined : control.value), isSecret: true };
}

/** A choice whose possibilities have members of their own. */
function group(field, value) {
  const control = h(
    "select",
    { value: value?.kind },
    field.choices.map(([kind, word]) => h("option", { value: kind }, word)),
  );
  const hint = h("p", { class: "help" });
  const place = h("div", { class: "members" });
  let members = [];
  const show = () => {
    const [, , help, fields] = field.choices.find(([kind]) => kind === control.value);
    const given = control.value === value?.kind ? value : {};
    members = fields.map((member) =>
      make({ ...member, path: `${field.path}.${member.path}`, own: member.path }, given[member.path]),
    );
    hint.textContent = help;
    hint.hidden = !help;
    fillWith(
      place,
      members.map((member) => member.element),
    );
  };
  control.addEventListener("change", show);
  const read = () => {
    const result = { kind: control.value };
    const isOther = control.value !== value?.kind;
    for (const member of members) {
      const given = member.value();
      // A new kind begins with its own defaults: what was left empty is not sent.
      if (
        given !== undefined &&
        !member.isSecret &&
        !(isOther && (given === null || (Array.isArray(given) && given.length === 0)))
      )
        result[member.field.own] = given;
    }
    return result;
  };
  const secrets = () =>
    Object.fromEntries(
      members
        .filter((member) => member.isSecret && member.value() !== undefined)
        .map((member) => [member.field.own, member.value()]),
    );
  const made = { field, control, value: read, secrets };
  show();
  made.around = h("div", {}, control, hint, place);
  return made;
}

/** Everything, or groups, known types and names of one's own. */
function types(field, value) {
  const chosen = new Set(value ?? []);
  const name = id(field.path);
  const radio = (which, words, checked) =>
    h(
      "label",
      { class: "check" },
      h("input", { type: "radio", name, value: which, checked, id: which === "all" ? name : null }),
      words,
    );
  const box = ([type, word, more]) =>
    h(
      "label",
      { class: "check", title: more ?? type },
      h("input", { type: "checkbox", value: type, checked: chosen.has(type) }),
      word,
    );
  const known = new Set(["*", ...GROUPS.map(([type]) => type), ...KNOWN_TYPES.map(([type]) => type)]);
  const own = h("textarea", {
    rows: 2,
    "aria-label": "Types of your own, one in a line",
    placeholder: "Types of your own, one in a line",
    value: [...chosen].filter((type) => !known.has(type)).join("\n"),
    spellcheck: "false",
  });
  const some = h(
    "div",
    { class: "members" },
    GROUPS.map(box),
    h("details", {}, h("summary", {}, "Single types"), h("div", { class: "grid" }, KNOWN_TYPES.map(box))),
    own,
  );
  const all = radio("all", "Every event", chosen.has("*"));
  const only = radio("some", "Only these", !chosen.has("*"));
  if (KNOWN_TYPES.some(([type]) => chosen.has(type))) some.querySelector("details").open = true;
  const isAll = () => all.querySelector("input").checked;
  const show = () => (some.hidden = isAll());
  for (const one of [all, only]) one.addEventListener("change", show);
  show();
  const read = () => {
    // In the order in which they were, so that what is the same stays the same.
    const now = [
      ...(isAll() ? ["*"] : []),
      ...[...some.querySelectorAll("input[type=checkbox]")].filter((one) => one.checked).map((one) => one.value),
      ...lines(own.value),
    ];
    return isAll()
      ? chosen.has("*")
        ? [...chosen]
        : ["*"]
      : [...[...chosen].filter((type) => now.includes(type)), ...now.filter((type) => !chosen.has(type))];
  };
  return {
    field,
    control: h("div", { role: "group", "aria-label": field.label }, all, only, some),
    value: read,
    isGroup: true,
  };
}

/** Rows that can be added and taken away. */
function table(field, names, rows, cells, read, add) {
  const body = h("div", { class: "entries" });
  const append = (values) => {
    const row = h(
      "div",
      { class: "entry row nowrap" },
      cells(values),
      button("", {
        icon: "remove",
        kind: "plain bare",
        label: "Take away",
        onclick: () => {
          row.remove();
          body.dispatchEvent(new Event("input", { bubbles: true }));
        },
      }),
    );
    body.append(row);
    return row;
  };
  rows.forEach(append);
  const control = h(
    "div",
    { role: "group", "aria-label": field.label },
    body,
    button(add, { icon: "plus", kind: "small", onclick: () => append([]).querySelector("input").focus() }),
  );
  const value = () =>
    read([...body.children].map((row) => [...row.querySelectorAll("input, select")].map((cell) => cell.value.trim())));
  return { field, control, value, isGroup: true, names };
}

/** Makes a field with its label, help, and place for what is wrong with it. */
export function make(field, value) {
  const made = MAKE[field.kind](field, value);
  const name = id(field.path);
  const [helpId, problemId] = [`${name}-help`, `${name}-problem`];
  const help = [field.help, field.standard ? `Empty: ${field.standard}.` : null].filter(Boolean).join(" ");
  if (!made.isGroup) made.control.id = name;
  made.control.setAttribute("aria-describedby", `${helpId} ${problemId}`);
  made.problem = h("p", { class: "problem", id: problemId });
  const label = made.isGroup ? h("span", { class: "label" }, field.label) : h("label", { for: name }, field.label);
  made.element = h(
    "div",
    { class: `setting ${field.kind}`, "data-path": field.path },
    h("div", { class: "names" }, label, h("p", { class: "help", id: helpId }, help)),
    h("div", { class: "control" }, made.around ?? made.control, made.problem),
  );
  return made;
}
