// Trying what is set: a test push with its request and its answer, and a test of the alerts.

import { post } from "./api.js";
import { fillWith, h } from "./dom.js";
import { icon } from "./icons.js";
import { parse, print } from "./json.js";
import { announce, button, code } from "./parts.js";
import { at, milliseconds } from "./time.js";
import { ERRORS } from "./words.js";

/** A test may take as long as a receiver may. */
const PATIENCE = 150_000;

/** Sends a test and shows what came of it. `isChanged` tells whether there are changes that are not saved. */
export async function test(result, isChanged, signal) {
  fillWith(
    result,
    h(
      "section",
      { class: "panel" },
      h("p", { class: "loading" }, "Sending a test … It may take as long as an answer may."),
    ),
  );
  result.scrollIntoView({ block: "nearest" });
  try {
    const { data } = await post("external-notifications/test", undefined, { patience: PATIENCE, signal });
    drawTest(result, data.attributes, isChanged());
  } catch (error) {
    if (!error.aborted)
      fillWith(
        result,
        h(
          "section",
          { class: "panel bad" },
          h("h2", { id: "test-title" }, icon("warn"), "No test was sent"),
          h("p", {}, error.message),
        ),
      );
  }
}

function drawTest(result, attempt, isChanged) {
  const { error, responseStatus, responseText, durationMs, url, address, startedAt, request } = attempt;
  const [what, why] = error
    ? (ERRORS[error] ?? [error, ""])
    : ["The receiver accepted the test", "It would count as delivered."];
  const headers = (list) => list.map(({ name, value }) => `${name}: ${value}`).join("\n");
  const sent = request
    ? `${request.method} ${request.url}\n${headers(request.headers)}\n\n${request.body === null ? "" : pretty(request.body)}`
    : `POST ${url}`;
  const came = responseStatus ? `Status ${responseStatus}\n\n${responseText || "(no body)"}` : "No answer.";
  fillWith(
    result,
    h(
      "section",
      { class: `panel ${error ? "bad" : "good"}`, "aria-labelledby": "test-title" },
      h(
        "div",
        { class: "row between" },
        h("h2", { id: "test-title" }, icon(error ? "failed" : "done"), error ? `The test failed: ${what}` : what),
        button("Close", { kind: "small plain", id: "test-close", onclick: () => fillWith(result) }),
      ),
      h("p", {}, why),
      h(
        "p",
        { class: "quiet small" },
        `Took ${milliseconds(durationMs)}${address ? `, to ${address}` : ""}, `,
        at(startedAt),
        isChanged ? ". By the settings as they are saved, not by those you are changing" : "",
      ),
      h(
        "div",
        { class: "columns even" },
        h("div", {}, h("h3", {}, "The request"), code(sent, "The request as it was sent")),
        h("div", {}, h("h3", {}, "The answer"), code(came, "The answer as it came")),
      ),
    ),
  );
  announce(error ? `The test failed: ${what}` : what);
}

/** The body as people read it; what is no JSON as it is. */
function pretty(text) {
  try {
    return print(parse(text));
  } catch {
    return text;
  }
}

/** Tries the ways by which people are told. */
export async function tryAlerts(told, signal) {
  fillWith(told, "Sending …");
  try {
    const { data } = await post("external-notifications/alerts/test", undefined, { patience: PATIENCE, signal });
    const line = (name, way) =>
      way
        ? h(
            "p",
            { class: way.sent ? "good-text" : "bad-text" },
            icon(way.sent ? "done" : "failed"),
            `${name}: ${way.sent ? "taken" : way.error}`,
          )
        : h("p", { class: "quiet" }, `${name}: not set`);
    fillWith(told, line("Mail", data.attributes.email), line("Post", data.attributes.url));
  } catch (error) {
    if (!error.aborted) fillWith(told, h("p", { class: "problem" }, error.message));
  }
}
