// The search: qualifiers that people type, as the parameters of the list of notifications. Only what the store finds by an
// index can be asked for; other words are told, not ignored.

const IS = {
  read: ["filter[isRead]", "true"],
  unread: ["filter[isRead]", "false"],
  flagged: ["filter[isFlagged]", "true"],
  unflagged: ["filter[isFlagged]", "false"],
  dismissed: ["filter[isDismissed]", "true"],
  open: ["filter[isDismissed]", "false"],
  any: ["filter[isDismissed]", "true,false"],
};

const PUSHED = ["none", "pending", "delivered", "failed", "paused"];
const UNITS = { s: 1, m: 60, h: 3600, d: 86400, w: 604800 };

/** The qualifiers there are, for whoever searches. */
export const QUALIFIERS = ["type:", "entity:", "by:", "pushed:", "is:", "since:", "until:", "sort:"];

/** The words of a search; quotes hold together what has spaces, and within them `\"` is a quote. */
export function tokens(text) {
  const words = text.match(/(?:[^\s"]|"(?:\\.|[^"\\])*"?)+/gs) ?? [];
  const plain = (quoted) => quoted.replace(/\\(.)/gs, "$1");
  return words.map((word) => word.replace(/"((?:\\.|[^"\\])*)"?/gs, (_, quoted) => plain(quoted)));
}

/** A qualifier as it is typed. */
export function qualifier(name, value) {
  return /[\s"]/.test(value) ? `${name}:"${value.replace(/["\\]/g, "\\$&")}"` : `${name}:${value}`;
}

function instant(value, now) {
  const [, number, unit] = /^(\d+)\s*([smhdw])$/.exec(value) ?? [];
  if (number) return new Date(now - number * UNITS[unit] * 1000).toISOString();
  // A day begins at midnight where the viewer is.
  const date = new Date(/^\d{4}-\d\d-\d\d$/.test(value) ? `${value}T00:00` : value);
  return Number.isNaN(date.getTime()) ? null : date.toISOString();
}

/** Reads a search: `{filter: {name: value}, sort, problems: [text], id}`. `id`: a number alone, the notification meant. */
export function read(text, now = Date.now()) {
  const filter = {},
    problems = [];
  let sort = null,
    id = null;
  const all = tokens(text);
  const add = (name, value) => (filter[name] = filter[name] ? `${filter[name]},${value}` : value);
  for (const token of all) {
    const [, name, value] = /^([A-Za-z]+):(.*)$/s.exec(token) ?? [];
    if (name === undefined) {
      if (/^#?\d+$/.test(token) && all.length === 1) id = token.replace("#", "");
      else problems.push(`“${token}” is no qualifier: write what is searched, as in type:${token}`);
      continue;
    }
    if (value === "") {
      problems.push(`${name}: has no value yet`);
      continue;
    }
    switch (name.toLowerCase()) {
      case "type":
        add("filter[type]", value);
        break;
      case "entity":
        add("filter[entity]", value);
        break;
      case "by":
      case "createdby":
        add("filter[createdBy]", value);
        break;
      case "id":
        id = value;
        break;
      case "pushed":
      case "push": {
        const unknown = value.split(",").find((one) => !PUSHED.includes(one));
        if (unknown === undefined) add("filter[push]", value);
        else problems.push(`pushed:${unknown} is not one of ${PUSHED.join(", ")}`);
        break;
      }
      case "is":
        for (const one of value.split(",")) {
          const [parameter, wanted] = IS[one] ?? [];
          if (!parameter) problems.push(`is:${one} is not one of ${Object.keys(IS).join(", ")}`);
          else if (filter[parameter] && filter[parameter] !== wanted)
            problems.push(`is:${one} contradicts another word`);
          else filter[parameter] = wanted;
        }
        break;
      case "since":
      case "until": {
        const time = instant(value, now);
        if (time) filter[`filter[createdAt][${name.toLowerCase() === "since" ? "ge" : "lt"}]`] = time;
        else problems.push(`${name}:${value} is no time: write 2h, 3d, or 2026-11-01`);
        break;
      }
      case "sort":
        sort = { newest: "-sequence", oldest: "sequence", latest: "-createdAt", earliest: "createdAt" }[value];
        if (!sort) problems.push("sort: is newest, oldest, latest or earliest");
        break;
      default:
        problems.push(`${name}: is no qualifier; there are ${QUALIFIERS.join(" ")}`);
    }
  }
  return { filter, sort: sort ?? "-sequence", problems, id };
}

/** The same search with other words for the flags and the push. */
export function withView(text, view) {
  const kept = tokens(text)
    .filter((token) => !/^(is|pushed|push):/i.test(token))
    .map((token) => {
      const [, name, value] = /^([^:]*):(.*)$/s.exec(token) ?? [];
      return name === undefined ? token : qualifier(name, value);
    });
  return [...kept, ...view].join(" ");
}

/** The words of a search that are about the flags and the push, and those that aren't. */
export function parted(text) {
  const all = tokens(text);
  const isView = (token) => /^(is|pushed|push):/i.test(token);
  return { view: all.filter(isView).sort(), others: all.filter((token) => !isView(token)) };
}
