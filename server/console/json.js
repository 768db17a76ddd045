// JSON as it was sent: numbers that JavaScript would round keep their digits.

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
/** Begins a string that stands for a number. Random, so that nobody can send it. */
const MARK = `number:${crypto.getRandomValues(new Uint32Array(2)).join("-")}:`;

/** Reads JSON; a number that would come out changed becomes a marked string, which `print` writes as it came. */
export function parse(text) {
  const safe = text.replace(TOKEN, (token) =>
    token[0] === '"' || String(Number(token)) === token ? token : `"${MARK}${token}"`,
  );
  return JSON.parse(safe);
}

/** Writes JSON to be read by people. */
export function print(value) {
  const text = JSON.stringify(value, null, 2) ?? "";
  return text.replaceAll(new RegExp(`"${MARK}([^"]*)"`, "g"), "$1");
}

/** A value in a line of text. */
export const inline = (value) => (typeof value === "string" ? value.replace(MARK, "") : print(value));
