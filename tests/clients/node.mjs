// node node.mjs FOLDER PACKAGE < jobs: the answers as JSON, by that package of FOLDER/node_modules.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { answer } from "./answer.mjs";

const [folder, name] = process.argv.slice(2);
const ort = createRequire(join(folder, "package.json"))(name);
const answers = [];
for (const job of JSON.parse(readFileSync(0, "utf8"))) {
  answers.push(await answer(ort, new Uint8Array(readFileSync(job.model)), job));
}
process.stdout.write(JSON.stringify(answers));
