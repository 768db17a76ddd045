// Builds elements. Text only ever becomes text: nothing that was sent or typed is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "indeterminate")
      element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  put(element, children);
  return element;
}

function put(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** An element: `h("a", {href: "#"}, "text", other)`. Attributes that are null or false are left out. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  if (tag !== "select" && tag !== "textarea") return fill(element, attributes, children);
  const { value, ...others } = attributes ?? {};
  fill(element, others, children);
  // Only now are there options to choose from.
  if (value !== undefined && value !== null) element.value = value;
  return element;
}

/** An element of SVG. */
export function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Puts these into an element, instead of what it holds. */
export function fillWith(element, ...children) {
  element.replaceChildren();
  put(element, children);
  return element;
}

let ids = 0;

/** An id that no other element has. */
export function newId(stem) {
  ids += 1;
  return `${stem}-${ids}`;
}
