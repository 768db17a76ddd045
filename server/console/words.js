// What the names on the wire are called, and what they mean.

/** The types of Signals Notebook. */
export const TYPES = {
  create: "Created",
  print: "Print or ZIP export",
  close: "Signed and closed",
  sign: "Signed, kept open",
  close_without_signing: "Closed without signing",
  reopen: "Reopened",
  review_request_for_reviewer: "Review requested",
  two_stage_review_request_for_reviewer: "Two-stage review requested",
  review_accepted_for_owner: "Review accepted",
  review_rejected_for_owner: "Review rejected",
  first_review_accepted_for_owner: "First review accepted",
  first_review_rejected_for_owner: "First review rejected",
  second_review_accepted_for_owner: "Second review accepted",
  second_review_rejected_for_owner: "Second review rejected",
  archive: "Archived",
  unarchive: "Returned from archive",
  void: "Voided",
};

export const typeName = (type) => TYPES[type] ?? type;

/** How far a push is: picture and word. */
export const PUSH = {
  none: { icon: "none", word: "Not pushed", tone: "quiet", means: "There is no URL to push to. It can be pulled." },
  pending: { icon: "pending", word: "Waiting", tone: "busy", means: "It waits for an attempt, or for its answer." },
  delivered: { icon: "done", word: "Delivered", tone: "good", means: "The receiver has accepted it." },
  failed: {
    icon: "failed",
    word: "Given up",
    tone: "bad",
    means: "Every attempt failed. It is kept, and can be pulled or pushed again.",
  },
  paused: { icon: "paused", word: "Paused", tone: "warn", means: "It waits until the push is resumed." },
};

/** The same in the push queue, by its names. */
export const STATUS = { pending: PUSH.pending, complete: PUSH.delivered, error: PUSH.failed, paused: PUSH.paused };

/** Whether a tenant is pushed to. */
export const HEALTH = {
  active: { icon: "done", word: "Active", tone: "good" },
  paused: { icon: "paused", word: "Paused", tone: "warn" },
  disabled: { icon: "failed", word: "Disabled", tone: "bad" },
  none: { icon: "none", word: "No URL", tone: "quiet" },
};

/** Why an attempt did not deliver. */
export const ERRORS = {
  dns: ["Name not found", "The host's name could not be resolved. Is the URL spelt right?"],
  connect: ["No connection", "Nothing listens at that address, or a firewall is in the way."],
  tls: ["TLS failed", "TLS could not be agreed on, or a certificate isn't trusted."],
  timeout: ["Too slow", "The receiver did not answer in time."],
  blocked_address: ["Address blocked", "The host has no address that pushes may go to."],
  protocol: ["Broken answer", "What came back was no complete HTTP answer."],
  status: ["Refused", "The answer's status is not 2xx."],
  rejected: ["Not acknowledged", "A 2xx, but not the acknowledgement that the settings ask for."],
  gone: ["Gone", "The receiver answered 410: it does not want pushes any more. The push was paused."],
  token: ["No token", "No access token could be had from the token endpoint."],
  too_large: ["Too large", "The body is larger than the settings allow; no request was made."],
  expired: ["Waited too long", "It waited longer than undelivered pushes may."],
  skipped: ["Skipped", "The push was resumed only for what came after it."],
  internal: ["Server error", "The server itself failed; its log says more."],
};

/** Why an attempt was made. */
export const REASONS = { first: "", retry: "retry", repush: "pushed again", probe: "probe" };

export const ROLES = {
  producer: ["Producer", "Posts events."],
  consumer: ["Consumer", "Reads notifications and changes their flags."],
  admin: ["Admin", "Both, and settings, the push queue and jobs."],
  operator: ["Operator", "Manages tenants and their keys."],
};

const numbers = new Intl.NumberFormat("en");

/** "12,000" */
export const count = (value) => numbers.format(value ?? 0);

/** "1 notification", "12 notifications" */
export const many = (value, one, more = `${one}s`) => `${count(value)} ${Number(value) === 1 ? one : more}`;

/** The name of a user or an entity, from what the event told of it. */
export function nameOf(resource) {
  const known = resource?.attributes ?? {};
  const parts = [known.firstName, known.lastName].filter((part) => typeof part === "string").join(" ");
  const names = [known.name, known.title, known.displayName, parts, known.userName, known.email];
  return names.find((name) => typeof name === "string" && name !== "") ?? resource?.id ?? "";
}
