// What an app in TypeScript writes; it is only checked, and never run.

import * as ort from "onnxruntime-node";
import * as tokenizers from "@huggingface/tokenizers";
import {
  InvalidInputError,
  PeDeployError,
  open,
  type Classifier,
  type Label,
  type SelfTestReport,
} from "pe-deploy";

const classifier: Classifier = await open(new URL("file:///models/demo/"), ort, {
  truncation: "end",
  threshold: 0.25,
  selfTest: true,
  tokenizers,
  sessionOptions: { intraOpNumThreads: 2 },
});
const labels: Label[] = await classifier.predict<Label>([[0, 16, 8], Int32Array.of(3, 3, 3)]);
const ofTokens: Label[][] = await classifier.predict<Label[]>([BigInt64Array.of(1n)]);
const ofTexts = await classifier.predictWithProbability(["a text"]);
const { data, dims } = await classifier.predictLogits(new ort.Tensor("int64", [1n], [1, 1]));
const sums: number[] = (await classifier.predictProba([[1]])).map((row) => row[0] + row[1]);
const tokens = await classifier.predictProba<number[][]>([[1]]);
const report: SelfTestReport = await classifier.selfTest();
try {
  const pad: number | null = classifier.signature.pad_id;
  const logit: number = data[dims[0]] + tokens[0][0][0];
  console.log(labels, ofTokens, ofTexts.labels, sums, report.cases[0].difference, pad, logit);
} catch (error) {
  if (error instanceof InvalidInputError) console.log(error.row, error.reason);
  else if (error instanceof PeDeployError) console.log(error.message);
}
await classifier.close();

// @ts-expect-error -- a misspelt option
await open("models/demo", ort, { treshold: 0.5 });
// @ts-expect-error -- no row of ids
await classifier.predict([{}]);
// @ts-expect-error -- one text alone
await classifier.predict("a text");
