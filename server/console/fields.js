// Every setting: where it stands, what it is called, what it means, and what may be set. The form is made from this.

import { TYPES } from "./words.js";

const attempts = {
  path: "attempts",
  label: "Attempts in all",
  kind: "number",
  min: 1,
  max: 100,
  help: "The first one counts.",
};
const jitter = {
  path: "jitter",
  label: "Spread",
  kind: "number",
  min: 0,
  max: 1,
  step: 0.05,
  help: "The largest share of a delay that is added at random, so that failures don’t return all at once. 0.2 is a fifth.",
};
const account = { path: "accountId", label: "Account", kind: "text", help: "The originator’s account." };

/** The model systems, whose values a tenant can start from. */
export const PROFILES = [
  [
    null,
    "Tidings",
    "Any 2xx delivers. Tried again after 5 seconds, twice as long each time up to 12 hours, 20 attempts in about four days.",
  ],
  [
    "signals",
    "Signals Notebook",
    "Any 2xx delivers, and dismisses. Never tried again: what fails waits for the pull. You set a header for authentication.",
  ],
  [
    "acrobatSign",
    "Adobe Acrobat Sign",
    "The answer repeats the client id. The URL is verified first. 15 retries in 72 hours; disabled after seven days without success. You set the client id.",
  ],
  [
    "socrateCloud",
    "SocrateCloud",
    "Any 2xx delivers. Tried again every 5 minutes, 20 times. You choose columns and a condition.",
  ],
  [
    "sertifi",
    "Sertifi",
    "Any 2xx delivers. Tried again as without a profile. You set user name and password, the fields of the payload, and a mail address for alerts.",
  ],
  [
    "serviceOptimizer",
    "ServiceOptimizer",
    'The answer is {"Success": true, "Code": 0}. Only ids are pushed. You set the Authorization header and the units.',
  ],
  [
    "standardWebhooks",
    "Standard Webhooks",
    "Any 2xx delivers. Tried again after 5 seconds, 5 and 30 minutes, 2, 5, 10, 14, 20 and 24 hours.",
  ],
];

/** The groups of types. */
export const GROUPS = [
  ["allSigningEvents", "All signing events", "Everything of Signals Notebook but creation and export"],
  ["allExportToPdfZipEvents", "All exports", "print"],
  ["topLevelEntityCreation", "Creation", "create"],
];

export const KNOWN_TYPES = Object.entries(TYPES);

export const SECTIONS = [
  {
    id: "receiver",
    title: "Receiver",
    text: "Where notifications are pushed to. Without a URL everything is stored all the same, and can be pulled.",
    fields: [
      {
        path: "push.url",
        label: "URL",
        kind: "url",
        help: "http or https. Addresses of private networks are refused, unless whoever runs the server allows them. A URL that is set lets a stopped push go on.",
      },
      {
        path: "push.authentication",
        label: "Who we are",
        kind: "kind",
        help: "How the receiver sees that it is us, besides the signature.",
        choices: [
          ["none", "The signature alone", "", []],
          [
            "header",
            "A header of its own",
            "As Signals Notebook does it.",
            [
              { path: "name", label: "Header", kind: "text", placeholder: "X-Hook" },
              { path: "value", label: "Value", kind: "secret" },
            ],
          ],
          [
            "basic",
            "User name and password",
            "",
            [
              { path: "username", label: "User name", kind: "text" },
              { path: "password", label: "Password", kind: "secret" },
            ],
          ],
          ["bearer", "A bearer token", "", [{ path: "token", label: "Token", kind: "secret" }]],
          [
            "authorization",
            "A fixed Authorization header",
            "Sent as it is: ServiceOptimizer’s JWT.",
            [{ path: "value", label: "Value", kind: "secret" }],
          ],
          [
            "oauth2",
            "OAuth 2.0 client credentials",
            "A token is fetched, kept until shortly before it ends, and fetched again when the receiver answers 401.",
            [
              { path: "tokenUrl", label: "Token endpoint", kind: "url" },
              { path: "clientId", label: "Client id", kind: "text" },
              { path: "clientSecret", label: "Client secret", kind: "secret" },
              { path: "scope", label: "Scope", kind: "text", help: "May be empty." },
            ],
          ],
        ],
      },
      {
        path: "push.autoDismiss",
        label: "Dismiss what is delivered",
        kind: "switch",
        help: "In the same transaction in which it is recorded as delivered.",
      },
      {
        path: "enabled",
        label: "Store events",
        kind: "switch",
        help: "Switched off, events of this tenant are neither stored nor pushed.",
      },
    ],
  },
  {
    id: "selection",
    title: "Which events",
    text: "What is selected is stored and pushed; the rest is dropped. All of these must agree.",
    fields: [
      { path: "selection.types", label: "Types", kind: "types", help: "The event’s type." },
      {
        path: "selection.scope",
        label: "Whose",
        kind: "kind",
        help: "By the event’s originator.",
        choices: [
          ["all", "Everybody’s", "", []],
          ["account", "Those of an account", "", [account]],
          [
            "group",
            "Those of a group",
            "",
            [
              { path: "groupId", label: "Group", kind: "text" },
              { ...account, help: "May be empty: any." },
            ],
          ],
          [
            "user",
            "Those of a user",
            "",
            [
              { path: "userId", label: "User", kind: "text" },
              { ...account, help: "May be empty: any." },
            ],
          ],
          ["resource", "Those about one entity", "", [{ path: "resourceId", label: "Entity", kind: "text" }]],
        ],
      },
      {
        path: "selection.columns",
        label: "Changed columns",
        kind: "lines",
        help: "One in a line, as column or table.column. Only events whose change names one of them; events without a change are not affected. Empty: any.",
        placeholder: "orders.status",
      },
      {
        path: "selection.condition",
        label: "Condition",
        kind: "area",
        help: "A CEL expression that must be true. It sees type, createdAt, comment, data, change, originator, unit, entity and createdBy. What can’t be evaluated is selected.",
        placeholder: "type == 'close' && data.amount > 100",
      },
      {
        path: "selection.units",
        label: "Units",
        kind: "units",
        help: "For single units, by the event’s unit: switch a type or group on or off. Such a switch decides instead of the types above.",
      },
    ],
  },
  {
    id: "payload",
    title: "What is pushed",
    text: "How much of a notification goes into the push, and in which format. What is stored and pulled is always the whole.",
    fields: [
      {
        path: "payload.detail",
        label: "Detail",
        kind: "choice",
        choices: [
          ["full", "The whole notification"],
          ["thin", "Ids only: the receiver pulls the rest"],
        ],
      },
      {
        path: "payload.fields",
        label: "Fields by type",
        kind: "fields",
        help: "For a type, or * for all others: which fields are pushed besides id, type, time and flags: comment, data, change, originator, unit, entity, createdBy, included, or a member of data. Types not named here are pushed with all fields.",
      },
      {
        path: "payload.optionalFields",
        label: "May be dropped",
        kind: "lines",
        help: "One in a line: fields that are dropped, in this order, from a push that is too large.",
        placeholder: "includeSignedDocuments",
      },
      {
        path: "payload.maxBytes",
        label: "Largest push",
        kind: "number",
        min: 1000,
        max: 20_000_000,
        unit: "bytes",
        help: "What is still larger without those fields fails at once, and can be pulled.",
        standard: "10,000,000",
      },
      {
        path: "payload.format",
        label: "Format",
        kind: "choice",
        help: "Of pushes, and of alerts to a URL. A CloudEvent (1.0) has the notification’s document as its data.",
        choices: [
          ["jsonApi", "The notification’s document"],
          ["cloudEvents", "CloudEvents, structured: all in the body"],
          ["cloudEventsBinary", "CloudEvents, binary: attributes as ce- headers"],
        ],
      },
      {
        path: "push.contentType",
        label: "Content type",
        kind: "choice",
        help: "Of the document: in a structured CloudEvent its datacontenttype.",
        choices: [
          ["application/json", "application/json"],
          ["application/vnd.api+json", "application/vnd.api+json (JSON:API)"],
        ],
      },
      {
        path: "push.userAgent",
        label: "User agent",
        kind: "text",
        help: "Empty: the server’s name and version.",
        nullable: true,
      },
    ],
  },
  {
    id: "delivery",
    title: "What counts as delivered",
    text: "Which answers are an acknowledgement, and how a URL is verified before it is used.",
    fields: [
      {
        path: "push.acknowledgement",
        label: "Acknowledgement",
        kind: "kind",
        choices: [
          ["status", "Any 2xx", "", []],
          [
            "clientIdEcho",
            "A 2xx that repeats the client id",
            "In the header of the same name, or in xAdobeSignClientId of a JSON body: Acrobat Sign.",
            [],
          ],
          ["successEnvelope", 'A 2xx with {"Success": true, "Code": 0}', "ServiceOptimizer.", []],
        ],
      },
      {
        path: "push.verification",
        label: "Verification",
        kind: "kind",
        help: "Before a URL is accepted, and before a push is resumed.",
        choices: [
          ["none", "None", "", []],
          ["clientIdEcho", "GET, which must repeat the client id", "Acrobat Sign’s verification of intent.", []],
          [
            "cloudEvents",
            "OPTIONS, which must allow us",
            "CloudEvents: WebHook-Request-Origin and WebHook-Allowed-Origin.",
            [],
          ],
        ],
      },
      {
        path: "push.clientId",
        label: "Client id",
        kind: "text",
        help: "What the receiver is to repeat. Empty: the tenant’s id.",
        nullable: true,
      },
      {
        path: "push.clientIdHeader",
        label: "Header of the client id",
        kind: "text",
        nullable: true,
        standard: "X-AdobeSign-ClientId",
      },
    ],
  },
  {
    id: "retry",
    title: "When it fails",
    text: "When a failed push is tried again, and when it is given up. What is given up is kept, and can be pulled or pushed again.",
    fields: [
      {
        path: "push.retry",
        label: "Tried again",
        kind: "kind",
        choices: [
          ["none", "Never", "", []],
          [
            "fixed",
            "After the same delay each time",
            "",
            [
              { path: "everySeconds", label: "Every", kind: "number", min: 1, max: 604_800, unit: "seconds" },
              attempts,
              jitter,
            ],
          ],
          [
            "exponential",
            "After delays that grow",
            "",
            [
              { path: "firstSeconds", label: "First after", kind: "number", min: 1, max: 86_400, unit: "seconds" },
              { path: "factor", label: "Each longer by", kind: "number", min: 1, max: 10, step: 0.1, unit: "times" },
              { path: "capSeconds", label: "At most", kind: "number", min: 1, max: 604_800, unit: "seconds" },
              {
                path: "giveUpAfterSeconds",
                label: "Given up after",
                kind: "number",
                min: 1,
                max: 31_536_000,
                unit: "seconds",
                help: "Empty: the number of attempts alone decides.",
              },
              attempts,
              jitter,
            ],
          ],
          [
            "list",
            "After the delays of a list",
            "",
            [
              { path: "delaysSeconds", label: "Delays", kind: "numbers", help: "Seconds, with commas between them." },
              jitter,
            ],
          ],
        ],
      },
      {
        path: "push.disableAfterSeconds",
        label: "Disable after",
        kind: "number",
        min: 60,
        max: 31_536_000,
        unit: "seconds",
        help: "Disables the push when retries are exhausted and nothing was delivered for so long. Empty: never.",
      },
      {
        path: "retention.undeliveredDays",
        label: "Give up after",
        kind: "number",
        min: 1,
        max: 36_500,
        unit: "days",
        help: "An undelivered push that has waited for so long is given up. Empty: only its retries decide.",
      },
    ],
  },
  {
    id: "limits",
    title: "How fast",
    text: "What the receiver can bear. The limits are those of each node of the server.",
    fields: [
      {
        path: "push.timeoutSeconds",
        label: "Time for an answer",
        kind: "number",
        min: 1,
        max: 120,
        unit: "seconds",
        help: "From the look-up of the name to the end of the answer.",
        standard: "15",
      },
      {
        path: "push.maxConcurrency",
        label: "At a time",
        kind: "number",
        min: 1,
        max: 256,
        unit: "attempts",
        standard: "32",
      },
      {
        path: "push.rateLimit",
        label: "In a minute",
        kind: "number",
        min: 1,
        max: 1_000_000,
        unit: "attempts",
        help: "Empty: no limit.",
      },
      {
        path: "push.ordering",
        label: "Order",
        kind: "choice",
        choices: [
          ["none", "Oldest first, several at a time"],
          ["fifo", "Strictly in order, one at a time"],
        ],
      },
    ],
  },
  {
    id: "security",
    title: "Signature and TLS",
    text: "Every push is signed, as Standard Webhooks describes it. Secrets are written, and never read back.",
    fields: [
      {
        path: "push.signing.secret",
        label: "New signing secret",
        kind: "secret",
        help: "whsec_ and 24 to 64 bytes in base64. There is one from the beginning.",
      },
      {
        path: "push.signing.overlapSeconds",
        label: "Old secret signs for",
        kind: "number",
        min: 0,
        max: 2_592_000,
        unit: "seconds",
        help: "After a change, beside the new one.",
        standard: "86,400",
      },
      {
        path: "push.tls.clientCertificate",
        label: "Client certificate",
        kind: "area",
        help: "That we show to the receiver, with its chain, in PEM. Empty: none.",
        placeholder: "-----BEGIN CERTIFICATE-----",
      },
      { path: "push.tls.clientKey", label: "Its private key", kind: "secretArea", help: "In PEM." },
      {
        path: "push.tls.authorities",
        label: "Authorities",
        kind: "area",
        help: "Trusted besides the public ones, in PEM. Empty: none.",
        placeholder: "-----BEGIN CERTIFICATE-----",
      },
    ],
  },
  {
    id: "retention",
    title: "How long it is kept",
    text: "",
    fields: [
      {
        path: "retention.days",
        label: "Kept for",
        kind: "number",
        min: 1,
        max: 36_500,
        unit: "days",
        help: "From receipt, dismissed or not.",
        standard: "180",
      },
    ],
  },
  {
    id: "alerts",
    title: "Who is told",
    text: "When the push is in trouble, and when it is well again: once for each change.",
    fields: [
      { path: "alerts.email", label: "Mail to", kind: "email", help: "Empty: nobody.", nullable: true },
      { path: "alerts.url", label: "Post to", kind: "url", help: "Signed as pushes are. Empty: nowhere." },
      {
        path: "alerts.backlogAgeSeconds",
        label: "Also when behind by",
        kind: "number",
        min: 60,
        max: 31_536_000,
        unit: "seconds",
        help: "When the oldest undelivered one is older. Empty: any age.",
      },
    ],
  },
];
