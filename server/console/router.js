// Where one is: the screen, what it shows and its filters stand in the part of the address behind `#`, so that a link can
// be sent. That part never reaches a server; the key is not in it.

/** `#/notifications/7?q=x` as `{path: ["notifications", "7"], query: URLSearchParams}`. */
export function here() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const decode = (part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  };
  return { path: path.split("/").filter(Boolean).map(decode), query: new URLSearchParams(query ?? "") };
}

/** The address of a screen. */
export function href(path, query) {
  const given = Object.entries(query ?? {}).filter(
    ([, value]) => value !== "" && value !== null && value !== undefined,
  );
  // What may stand in a fragment as it is stays readable.
  const parameters = new URLSearchParams(given).toString().replaceAll("%3A", ":").replaceAll("%2C", ",");
  const parts = path.split("/").map(encodeURIComponent).join("/");
  return `#/${parts}${parameters ? `?${parameters}` : ""}`;
}

/** Goes to a screen. With `replace` the way back does not lead here. */
export function go(path, query, { replace = false } = {}) {
  const to = href(path, query);
  if (to === location.hash) return dispatchEvent(new HashChangeEvent("hashchange"));
  if (replace) {
    history.replaceState(null, "", to);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else location.hash = to;
  return true;
}
