// Reads documents from the file $1, a line each with a name and a tab before it, and says which of them aren't JSON:API,
// and why.
import { readFileSync } from "node:fs";
import { Validator } from "jsonapi-validator";

const validator = new Validator();
for (const line of readFileSync(process.argv[2], "utf8").split("\n").filter(Boolean)) {
  const [name, text] = line.split("\t");
  const document = JSON.parse(text);
  // The validator knows 1.0. In 1.1 `jsonapi` may name profiles; that a link to no page may be null stands in both.
  delete document.jsonapi?.profile;
  for (const end of ["prev", "next"]) if (document.links?.[end] === null) delete document.links[end];
  try {
    validator.validate(document);
  } catch (error) {
    console.log(`${name}: ${(error.errors ?? [error]).map((one) => `${one.dataPath} ${one.message}`).join("; ")}`);
  }
}
