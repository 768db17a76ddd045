// Takes pushes, and keeps them: a file for each notification.
//
//     npm install && npm run types && npm run build
//     TIDINGS_SECRET=whsec_… node receiver.js archive 9090
//
// An answer of 204 says that the notification is safe here. Whatever isn't signed with the tenant's secret gets 401.
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { Webhook } from "standardwebhooks";
import type { components } from "./schema.js";

type Pushed = components["schemas"]["NotificationDocument"];

const [folder, port] = process.argv.slice(2) as [string, string];
mkdirSync(folder, { recursive: true });
const webhook = new Webhook(process.env.TIDINGS_SECRET!);

async function take(request: IncomingMessage): Promise<number> {
  const body = await text(request);
  let pushed: Pushed;
  try {
    pushed = webhook.verify(body, request.headers as Record<string, string>) as Pushed;
  } catch {
    return 401;
  }
  const notification = pushed.data;
  // A test of the settings comes with the id 0.
  if (notification.id !== "0") {
    writeFileSync(`${folder}/${notification.id}.json`, JSON.stringify(notification), { flush: true });
  }
  return 204;
}

createServer((request, response) => {
  take(request)
    .catch(() => 500)
    .then((status) => response.writeHead(status).end());
}).listen(Number(port), "127.0.0.1");
