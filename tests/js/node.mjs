// node node.mjs FOLDER PACKAGE < jobs: the answers as JSON, by that package of FOLDER/node_modules.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { open } from "../../js/pe-deploy.mjs";
import { answerAll } from "./answer.mjs";

const [folder, name] = process.argv.slice(2);
const packages = createRequire(join(folder, "package.json"));
const jobs = JSON.parse(readFileSync(0, "utf8"));
const answers = await answerAll(open, packages(name), packages("@huggingface/tokenizers"), jobs);
process.stdout.write(JSON.stringify(answers));
