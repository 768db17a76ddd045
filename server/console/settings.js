// Every setting of a tenant as a form: saved as a change of what differs, tried with a test, and where something is refused
// it is said at its field.

import { Failure, get, patch, told } from "./api.js";
import { fillWith, h } from "./dom.js";
import { PROFILES, SECTIONS } from "./fields.js";
import { at, difference, make, merge, put } from "./form.js";
import { icon } from "./icons.js";
import { announce, ask, badge, button, head, load, toast } from "./parts.js";
import { href } from "./router.js";
import { at as instant, since } from "./time.js";
import { test, tryAlerts } from "./trial.js";
import { HEALTH, count, many } from "./words.js";

/** A test and a verification may take as long as a receiver may. */
const PATIENCE = 150_000;
const PATH = "external-notifications";
/** What was changed and not saved when the screen was left, without secrets, and of which tenant. */
let draft = null;

export function settings({ place, signal }) {
  const health = h("section", { class: "panel", "aria-labelledby": "health-title", id: "health" });
  const profile = h("section", { class: "panel", "aria-labelledby": "profile-title", id: "profile" });
  const result = h("div", { id: "test-result", "aria-live": "polite" });
  const form = h("form", {
    id: "settings",
    novalidate: true,
    "aria-label": "Settings",
    onsubmit: (event) => {
      event.preventDefault();
      save();
    },
  });
  const problems = h("div", { id: "problems", class: "problems", role: "alert", tabindex: "-1" });
  const changes = h("span", { id: "changes", role: "status" });
  const saving = h("button", { type: "submit", class: "button primary", id: "save", form: "settings" }, "Save");
  const bar = h(
    "div",
    { class: "savebar", hidden: true },
    changes,
    h(
      "div",
      { class: "row" },
      button("Discard", {
        id: "discard",
        onclick: () => {
          draw(current);
          toast("Discarded");
        },
      }),
      saving,
    ),
  );
  const body = h("div", {});
  const contents = h(
    "nav",
    { class: "contents", "aria-label": "Sections" },
    [["health", "Push now"], ["profile", "Profile"], ...SECTIONS.map(({ id, title }) => [`section-${id}`, title])].map(
      ([id, title]) =>
        h(
          "a",
          {
            href: `#${id}`,
            onclick: (event) => {
              event.preventDefault();
              document.getElementById(id)?.scrollIntoView({
                behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth",
              });
              document.getElementById(id)?.querySelector("h2")?.focus({ preventScroll: true });
            },
          },
          title,
        ),
    ),
  );
  fillWith(
    place,
    head("Settings", button("Send a test", { icon: "post", id: "test", onclick: () => tryPush() })),
    body,
  );
  /** The resource as the server last answered it. */
  let current = null;
  let fields = [];

  async function start() {
    await load(
      body,
      async () => {
        const { data } = await get(PATH, { signal });
        const kept = draft?.id === data.id ? draft.patch : null;
        draft = null;
        draw(data, kept ? merge(data.attributes, kept) : undefined);
        if (kept) toast("What you had not saved is still here, but for secrets");
        return h(
          "div",
          { class: "with-contents" },
          contents,
          h("div", { class: "sections" }, health, result, profile, problems, form, bar),
        );
      },
      { what: "Loading the settings" },
    );
  }

  function draw(data, shown = data.attributes) {
    current = data;
    drawHealth(data);
    drawProfile(data.attributes.profile);
    fields = [];
    fillWith(problems);
    fillWith(
      form,
      SECTIONS.map(({ id, title, text, fields: described }) => {
        const made = described.map((field) => make(field, at(shown, field.path)));
        fields.push(...made);
        return h(
          "section",
          { class: "panel", id: `section-${id}`, "aria-labelledby": `title-${id}` },
          h("h2", { id: `title-${id}`, tabindex: "-1" }, title),
          text ? h("p", { class: "quiet" }, text) : null,
          made.map((one) => one.element),
          id === "alerts"
            ? h(
                "div",
                { class: "row" },
                button("Try the alerts", {
                  icon: "post",
                  id: "test-alerts",
                  onclick: () => tryAlerts(document.getElementById("alerts-result"), signal),
                }),
                h("div", { id: "alerts-result", "aria-live": "polite" }),
              )
            : null,
        );
      }),
    );
    for (const event of ["input", "change"]) form[`on${event}`] = drawChanges;
    drawChanges();
  }

  function drawHealth({ attributes, meta }) {
    const { state, reason, previousSecretUntil } = meta.push;
    const rests = state === "paused" || state === "disabled";
    fillWith(
      health,
      h(
        "div",
        { class: "row between" },
        h("h2", { id: "health-title", tabindex: "-1" }, "Push now"),
        badge(HEALTH[state] ?? HEALTH.none),
      ),
      h(
        "p",
        {},
        {
          active: "Notifications are pushed as they arrive.",
          none: "There is no URL. Everything is stored, and can be pulled.",
        }[state] ??
          `${reason ? `${reason.charAt(0).toUpperCase()}${reason.slice(1)}. ` : ""}What arrives is stored, and waits.`,
      ),
      h(
        "dl",
        { class: "facts" },
        [
          [
            "Undelivered",
            [
              meta.undelivered >= 10_000 ? "at least " : "",
              h("a", { href: href("queue", { status: rests ? "paused" : "pending" }) }, count(meta.undelivered)),
            ],
          ],
          ["Oldest", meta.oldestUndeliveredAt ? since(meta.oldestUndeliveredAt) : "nothing waits"],
          ["Last accepted", meta.lastSuccessAt ? since(meta.lastSuccessAt) : "nothing yet"],
          previousSecretUntil ? ["Two signatures until", instant(previousSecretUntil)] : null,
        ]
          .filter(Boolean)
          .map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
      ),
      state === "none"
        ? null
        : h(
            "div",
            { class: "row" },
            rests
              ? button("Resume", { icon: "repush", kind: "primary", id: "resume", onclick: () => resume(attributes) })
              : button("Pause", {
                  icon: "paused",
                  id: "pause",
                  onclick: () => change({ push: { enabled: false } }, "Paused: what arrives is stored, and waits"),
                }),
          ),
    );
  }

  async function resume(attributes) {
    const choice = (value, words, more, checked) =>
      h(
        "label",
        { class: "check block" },
        h("input", { type: "radio", name: "resume", value, checked, autofocus: checked }),
        h("span", {}, h("strong", {}, words), h("span", { class: "quiet" }, ` ${more}`)),
      );
    const how = await ask({
      title: "Resume the push",
      agree: "Resume",
      result: (made) => new FormData(made).get("resume"),
      body: [
        choice(
          "backlog",
          "With what waits.",
          `${many(current.meta.undelivered, "notification")}, oldest first, at a rising rate.`,
          true,
        ),
        choice(
          "fromNow",
          "Only from now on.",
          "What waits is given up, and can be pulled, or pushed again later.",
          false,
        ),
      ],
    });
    if (!how) return;
    const patch = { push: { enabled: true, resume: how } };
    if (!attributes.enabled) patch.enabled = true;
    await change(patch, how === "backlog" ? "Resumed, with what waits" : "Resumed, from now on");
  }

  function drawProfile(chosen) {
    const known = PROFILES.find(([name]) => name === chosen) ?? PROFILES[0];
    const select = h(
      "select",
      { id: "profile-choice", value: chosen ?? "", "aria-describedby": "profile-help", onchange: () => show() },
      PROFILES.map(([name, word]) => h("option", { value: name ?? "" }, word)),
    );
    const help = h("p", { class: "help", id: "profile-help" });
    const start = button("Start from this profile", { id: "profile-apply", onclick: () => apply() });
    const picked = () => PROFILES.find(([name]) => (name ?? "") === select.value);
    const show = () => (help.textContent = picked()[2]);
    const apply = async () => {
      const [name, word] = picked();
      const agreed = await ask({
        title: `Start from ${word}?`,
        agree: "Start from it",
        body: [
          h("p", {}, picked()[2]),
          h(
            "p",
            { class: "quiet" },
            "This puts how and what is pushed back to that system’s values. URL, authentication, TLS, secrets, client id, selection, retention and alerts stay.",
          ),
        ],
      });
      if (agreed) await change({ profile: name }, `The values of ${word} are in force`);
    };
    show();
    fillWith(
      profile,
      h("h2", { id: "profile-title", tabindex: "-1" }, "Profile"),
      h(
        "p",
        { class: "quiet" },
        `Makes pushes as a system is used to send them. Now: ${known[1]}. Each setting below can differ from it.`,
      ),
      h(
        "div",
        { class: "setting" },
        h("div", { class: "names" }, h("label", { for: "profile-choice" }, "System")),
        h("div", { class: "control" }, h("div", { class: "row" }, select, start), help),
      ),
    );
  }

  /** What the form asks to change. */
  function asked({ secrets: withSecrets = true } = {}) {
    const after = structuredClone(current.attributes);
    for (const field of fields) if (!field.isSecret) put(after, field.field.path, field.value());
    const before = structuredClone(current.attributes);
    const result = difference(before, after) ?? {};
    if (!withSecrets) return result;
    for (const field of fields) {
      const { path } = field.field;
      if (field.isSecret && field.value() !== undefined) put(result, path, field.value());
      const secrets = field.secrets?.() ?? {};
      for (const [name, value] of Object.entries(secrets)) put(result, `${path}.${name}`, value);
    }
    return result;
  }

  const isChanged = ({ field: { path } }, patch) => at(patch, path) !== undefined;

  function drawChanges() {
    if (!current) return;
    const patch = asked();
    const changed = fields.filter((field) => isChanged(field, patch));
    for (const field of fields) field.element.classList.toggle("changed", changed.includes(field));
    bar.hidden = changed.length === 0;
    changes.textContent =
      changed.length === 0
        ? ""
        : `Not saved: ${changed
            .map((one) => one.field.label)
            .slice(0, 4)
            .join(", ")}${changed.length > 4 ? ` and ${changed.length - 4} more` : ""}`;
    onbeforeunload = changed.length === 0 ? null : (event) => event.preventDefault();
  }
  signal.addEventListener("abort", () => {
    onbeforeunload = null;
    if (!bar.hidden) draft = { id: current.id, patch: asked({ secrets: false }) };
  });

  async function save() {
    const attributes = asked();
    if (Object.keys(attributes).length === 0) return;
    for (const one of all()) mark(one, "");
    fillWith(problems);
    await change(attributes, null);
  }

  const all = () => [...form.querySelectorAll("[data-path]")];

  /** Sends a change, and shows what came of it. */
  async function change(attributes, words) {
    const isVerified =
      (at(attributes, "push.verification.kind") ?? current.attributes.push.verification.kind) !== "none" &&
      (at(attributes, "push.url") || at(attributes, "push.enabled"));
    saving.disabled = true;
    saving.textContent = isVerified ? "Asking the receiver …" : "Saving …";
    try {
      const { data } = await patch(
        PATH,
        { data: { type: "externalNotifications", attributes } },
        { patience: PATIENCE },
      );
      const kept = document.activeElement?.id;
      draw(data);
      if (kept) document.getElementById(kept)?.focus();
      const text = words ?? (isVerified ? "Saved: the receiver was asked, and wants pushes" : "Saved");
      announce(text);
      toast(text);
      return true;
    } catch (error) {
      refused(error);
      return false;
    } finally {
      saving.disabled = false;
      saving.textContent = "Save";
    }
  }

  function mark(element, text) {
    element.querySelector(".problem").textContent = text;
    element.classList.toggle("wrong", text !== "");
    for (const control of element.querySelectorAll(".control input, .control select, .control textarea")) {
      if (text) control.setAttribute("aria-invalid", "true");
      else control.removeAttribute("aria-invalid");
    }
  }

  function refused(error) {
    if (error.aborted) return;
    const others = [];
    let first = null;
    for (const one of error instanceof Failure && error.errors.length ? error.errors : [null]) {
      const path = (one?.source?.pointer ?? "").replace("/data/attributes/", "").split("/").join(".");
      // The field itself, or the innermost around the member that is wrong.
      const places = all()
        .filter((element) => path === element.dataset.path || path.startsWith(`${element.dataset.path}.`))
        .sort((a, b) => b.dataset.path.length - a.dataset.path.length);
      if (one && places[0]) {
        mark(places[0], told(one));
        first ??= places[0];
      } else others.push(one ? told(one) : error.message);
    }
    const verification = error.errors?.some((one) => one.code === "verification_failed");
    const title = verification
      ? "The receiver did not show that it wants pushes. Nothing was changed."
      : "Not saved: nothing was changed.";
    fillWith(
      problems,
      h("p", {}, icon("warn"), h("strong", {}, title)),
      others.map((text) => h("p", {}, text)),
      first
        ? h(
            "p",
            {},
            h(
              "a",
              {
                href: "#",
                onclick: (event) => {
                  event.preventDefault();
                  first.querySelector("input, select, textarea").focus();
                },
              },
              `${first.querySelector(".names label, .names .label").textContent}: `,
            ),
            first.querySelector(".problem").textContent,
          )
        : null,
    );
    if (first) {
      first.scrollIntoView({ block: "center" });
      first.querySelector("input, select, textarea")?.focus({ preventScroll: true });
    } else problems.focus();
  }

  async function tryPush() {
    const started = document.getElementById("test");
    started.disabled = true;
    await test(result, () => !bar.hidden, signal);
    started.disabled = false;
  }

  start();
  return { keys: (event) => event.key === "t" && (tryPush(), true) };
}
