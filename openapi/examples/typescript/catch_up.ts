// Fetches what has come since the last run, and keeps it: a file for each notification.
//
//     npm install && npm run types && npm run build
//     TIDINGS_URL=http://127.0.0.1:8080 TIDINGS_KEY=… node catch_up.js archive
//
// Run it as often as you like, and kill it whenever you like: the cursor moves only when all before it is kept.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

/** Writes a file, all of it or nothing. */
function keep(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { flush: true });
  renameSync(`${path}.new`, path);
}

const folder = process.argv[2]!;
mkdirSync(folder, { recursive: true });
const cursor = `${folder}/cursor`;
let after = existsSync(cursor) ? readFileSync(cursor, "utf8") : "0";

const client = createClient<paths>({
  baseUrl: process.env.TIDINGS_URL,
  headers: { "x-api-key": process.env.TIDINGS_KEY },
});
for (let more = true; more; ) {
  // Dismissed or not, oldest first.
  const query = { sort: "sequence", "page[after]": after, "filter[isDismissed]": "true,false" };
  const { data: page, error } = await client.GET("/api/rest/v1.0/notifications", { params: { query } });
  if (error) throw new Error(error.errors[0]?.detail);
  for (const notification of page.data) {
    keep(`${folder}/${notification.id}.json`, JSON.stringify(notification));
  }
  after = page.meta?.page?.after ?? after;
  keep(cursor, after);
  more = page.links.next != null;
}
console.log(`kept all up to ${after}`);
