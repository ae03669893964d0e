// The page: opens the bundle, replays its proof, and only then lets anyone ask.

import { open } from "../pe-deploy/pe-deploy.js";
import { AnswerView } from "./answer.js";
import { Asking } from "./asking.js";
import { FilePanel } from "./file.js";
import { makeInput } from "./input.js";
import { keepForOffline } from "./offline.js";
import { showProof } from "./proof.js";
import { openEngine } from "./engine.js";

const find = (id) => document.getElementById(id);

async function start() {
  const { input: kind, examples, tokenizers: isNeeded } = document.body.dataset;
  const loading = find("loading");
  const ort = await openEngine((share) => (loading.value = share));
  say("Checking the bundle…");
  const tokenizers = isNeeded ? await import("../tokenizers/tokenizers.min.js") : undefined;
  const classifier = await open("bundle/", ort, { tokenizers });
  loading.removeAttribute("value");
  say("Replaying the golden vectors…");
  await prove(classifier);

  const answer = new AnswerView(find("answer"), classifier);
  const asking = new Asking(classifier, answer, find("input-error"));
  makeInput(kind, find("input"), classifier, JSON.parse(examples), asking);
  new FilePanel(find("file"), classifier, kind);
  find("state").hidden = true;
  document.body.dataset.ready = "true";
  performance.mark("ready");
  await keepForOffline(find("offline"), find("newer"), find("reload"));
}

/** Replay the golden vectors; a model that fails does not get to answer. */
async function prove(classifier) {
  const report = await classifier.selfTest();
  showProof(find("proof"), report, classifier);
  if (!report.passed) throw new Error(report.problem);
}

function say(text) {
  find("state-text").textContent = text;
}

start().catch((error) => {
  find("state").hidden = false;
  find("state").classList.add("failed");
  find("loading").hidden = true;
  say(`No answers: ${error?.message ?? error}`);
  document.body.dataset.failed = "true";
});
