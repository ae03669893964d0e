// node node.mjs FOLDER PACKAGE < job: the answers as JSON, by that package of FOLDER/node_modules.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { answer } from "./answer.mjs";

const [folder, name] = process.argv.slice(2);
const ort = createRequire(join(folder, "package.json"))(name);
const job = JSON.parse(readFileSync(0, "utf8"));
const model = new Uint8Array(readFileSync(job.model));
process.stdout.write(JSON.stringify(await answer(ort, model, job)));
