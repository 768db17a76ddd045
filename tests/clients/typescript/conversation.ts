// What a program in TypeScript says to the server through openapi-fetch, with the types that openapi-typescript has made.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];

const client = createClient<paths>({
  baseUrl: process.env.TIDINGS_URL,
  headers: { "x-api-key": process.env.TIDINGS_KEY },
});

/** The data of an answer that isn't an error. */
function good<T>(answer: { data?: T; error?: Schemas["ErrorDocument"] }): T {
  if (answer.data === undefined) throw new Error(JSON.stringify(answer.error));
  return answer.data;
}

/** The first error of an answer that is one. */
function refusal(answer: { error?: Schemas["ErrorDocument"] }): Schemas["ErrorObject"] {
  const error = answer.error?.errors[0];
  if (!error) throw new Error("not refused");
  return error;
}

function event(type: string): Schemas["EventData"] {
  return {
    type: "notification",
    attributes: { type, comment: "from TypeScript" },
    relationships: { createdBy: { data: { type: "user", id: "100" } } },
  };
}

// Posts, one of them twice.
async function post(type: string, key: string): Promise<string> {
  const body = { data: event(type), included: [{ type: "user" as const, id: "100" }] };
  const params = { header: { "Idempotency-Key": key } };
  const document = good(await client.POST("/api/rest/v1.0/notifications", { params, body }));
  if (!document.data) throw new Error("not stored");
  return document.data.id;
}
const posted: string[] = [];
for (const type of ["close", "print", "close", "print", "close"]) {
  posted.push(await post(type, `post-${posted.length}`));
}
const repeated = await post("close", "post-0");

// Lists by filter and cursor to the end.
const listed: string[] = [];
let after: string | undefined = "0";
for (let more = true; more; ) {
  const query = { "filter[type]": "close", sort: "sequence", "page[size]": 2, "page[after]": after };
  const page: Schemas["NotificationPage"] = good(
    await client.GET("/api/rest/v1.0/notifications", { params: { query } }),
  );
  listed.push(...page.data.map((notification) => notification.id));
  after = page.meta?.page?.after;
  more = page.links.next != null;
}

// Changes a flag.
const [first, second] = posted as [string, string];
const patched = good(
  await client.PATCH("/api/rest/v1.0/notifications/{id}", {
    params: { path: { id: first } },
    body: { data: { type: "notification", id: first, attributes: { isRead: true } } },
  }),
);

// Does two things at once.
const operations = good(
  await client.POST("/api/rest/v1.0/operations", {
    body: {
      "atomic:operations": [
        { op: "add", data: event("sign") },
        { op: "update", data: { type: "notification", id: second, attributes: { isFlagged: true } } },
      ],
    },
  }),
);
const [added, flagged] = operations["atomic:results"];

// Is refused.
const refused = refusal(
  await client.GET("/api/rest/v1.0/notifications", { params: { query: { "page[after]": "somewhere" } } }),
);
const unknown = refusal(
  await client.GET("/api/rest/v1.0/notifications/{id}", { params: { path: { id: "1000" } } }),
);

console.log(
  JSON.stringify({
    posted,
    repeated,
    listed,
    isRead: patched.data.attributes.isRead,
    added: added?.data?.id,
    isFlagged: flagged?.data?.attributes.isFlagged,
    refused: [refused.code, refused.source?.parameter],
    unknown: [unknown.status, unknown.code],
  }),
);
