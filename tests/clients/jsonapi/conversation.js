// Speaks with a server through three clients of JSON:API that know nothing of it, and says what it has read. Each asks for
// the strict shape by its profile.
import devour from "devour-client";
import { Jsona } from "jsona";
import Kitsu from "kitsu";

const base = `${process.env.TIDINGS_URL}/api/rest/v1.0`;
const media = 'application/vnd.api+json;profile="urn:tidings:profile:strict"';
const headers = { Accept: media, "Content-Type": media, "x-api-key": process.env.TIDINGS_KEY };
const said = {};

// Kitsu: posts, pages to the end, changes a flag.
const kitsu = new Kitsu({ baseURL: base, headers, pluralize: false });
// Paths are plural here and types are not; Kitsu takes one for the other.
kitsu.interceptors.request.use((request) => ({ ...request, url: request.url.replace(/^notification\b/, "notifications") }));
const posted = await kitsu.post("notification", { eventType: "close", comment: "from Kitsu" });
said.posted = [posted.data.id, posted.data.eventType];
const pages = [];
for (let after = "0"; after !== null; ) {
  const params = { sort: "sequence", page: { after, size: 2 }, filter: { isDismissed: "true,false" } };
  const page = await kitsu.get("notification", { params });
  pages.push(page.data.map((one) => [one.id, one.eventType, one.entity?.data.name ?? null]));
  after = page.links.next && page.meta.page.after;
}
said.pages = pages;
said.isRead = (await kitsu.patch("notification", { id: "1", isRead: true })).data.isRead;
said.refused = await kitsu.get("notification", { params: { status: "dismissed" } }).catch((refused) => refused.errors[0].source);

// Jsona: makes objects of a document, and a document of objects.
const jsona = new Jsona();
const fetched = await fetch(`${base}/notifications/1?include=entity`, { headers });
said.media = fetched.headers.get("content-type");
const one = jsona.deserialize(await fetched.json());
said.entity = [one.entity.type, one.entity.name];
const body = JSON.stringify(jsona.serialize({ stuff: { type: one.type, id: one.id, isFlagged: true } }));
said.isFlagged = jsona.deserialize(await (await fetch(`${base}/notifications/1`, { method: "PATCH", headers, body })).json()).isFlagged;

// Devour: has models.
const api = new devour({ apiUrl: base, logger: false });
api.headers = headers;
const entity = { jsonApi: "hasOne", type: "entity" };
const flags = { isRead: "", isFlagged: "", isDismissed: "" };
api.define("entity", { name: "" }, { type: "entity", collectionPath: "entities" });
api.define(
  "notification",
  { eventType: "", comment: "", entity, ...flags },
  { type: "notification", collectionPath: "notifications" },
);
const found = await api.find("notification", "1", { include: "entity" });
said.found = [found.data.eventType, found.data.isRead, found.data.isFlagged, found.data.entity?.name];
const listed = await api.findAll("notification", { filter: { type: "print" }, sort: "sequence", fields: { notification: "eventType,comment" } });
said.listed = listed.data.map((each) => [each.id, each.eventType, each.comment]);
said.isDismissed = (await api.update("notification", { id: "1", isDismissed: true })).data.isDismissed;

console.log(JSON.stringify(said));
