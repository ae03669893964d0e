/** A label: text, or an integer; one that a double does not hold is a bigint. */
export type Label = string | number | bigint;

export type Task = "classes" | "multilabel" | "regression" | "tokens";

/** Values of any shape, as onnxruntime's `Tensor` has them. */
export interface TensorLike {
  readonly data: ArrayLike<number> | ArrayLike<bigint> | ArrayLike<string>;
  readonly dims: readonly number[];
  readonly type?: string;
}

type Integers = ArrayLike<number> | ArrayLike<bigint> | readonly (number | bigint)[];

/**
 * Rows of ids: one tensor, or a list with a list for each row; what a tokenizer returns; and where
 * the bundle `takesText`, a list of texts.
 */
export type Rows =
  | readonly Integers[]
  | readonly string[]
  | TensorLike
  | {
      readonly input_ids: readonly Integers[] | TensorLike;
      readonly attention_mask?: readonly Integers[] | TensorLike;
    };

/** As the manifest states it. */
export interface Signature {
  readonly vocab_size: number;
  readonly min_length: number;
  readonly max_length: number;
  readonly num_classes: number;
  readonly pad_id: number | null;
  readonly task: Task;
}

export interface TextSpec {
  readonly kind: "bytes" | "words" | "characters" | "tokenizer.json";
  readonly length: number;
  readonly padding: number | null;
  readonly unknown: number | null;
  readonly normalizer: readonly string[];
  readonly truncation: "start" | "end" | null;
  readonly left_out: readonly string[];
}

/** `manifest.json`, checked; `signature` has every field, `decision` is what it states. */
export interface Manifest {
  readonly format: "pe_deploy.bundle";
  readonly format_version: number;
  readonly signature: Signature;
  readonly decision: {
    readonly labels: readonly Label[];
    readonly threshold: number | null;
    readonly task: Task;
  };
  readonly labels: readonly Label[];
  readonly threshold: number | null;
  readonly weights_sha256: string;
  readonly versions: Readonly<Record<string, string | number>>;
  readonly files: Readonly<Record<string, { readonly size: number; readonly sha256: string }>>;
  readonly text: TextSpec | null;
  /** How the weights were rounded; null where they are as they were trained. */
  readonly compact: {
    readonly dtype: "float16" | "int8";
    readonly trained_sha256: string;
    readonly allow_flips: number | null;
  } | null;
  readonly manifest_sha256: string;
  readonly [field: string]: unknown;
}

/** From the logits of one answer, a row's or a token's, to probabilities and labels. */
export interface Decision {
  readonly labels: readonly Label[];
  readonly threshold: number | null;
  readonly task: Task;
  probabilities(logits: Float32Array | Float64Array): number[];
  withProbability(logits: Float32Array | Float64Array): [Label, number];
}

export interface Options {
  /** What becomes of a text that is too long; by default as the bundle states it. */
  truncation?: "error" | "start" | "end";
  /** The probability above which a label is the answer, in place of the published one. */
  threshold?: number;
  /** Replay what was published first, and refuse a model that answers otherwise. */
  selfTest?: boolean;
  /** The module `@huggingface/tokenizers`, for a bundle with a `tokenizer.json`. */
  tokenizers?: object;
  /** Run every batch by one graph: `model.onnx`, or `model.throughput.onnx`. */
  form?: "latency" | "throughput";
  /** Passed on to `InferenceSession.create`. */
  sessionOptions?: object;
  /** Used in place of the global `fetch`. */
  fetch?: typeof fetch;
}

/** What `open` needs of onnxruntime-node or onnxruntime-web. */
export interface OnnxRuntime {
  readonly InferenceSession: { create(model: Uint8Array, options?: any): Promise<any> };
  readonly Tensor: new (type: any, data: any, dims?: readonly number[]) => any;
}

export interface SelfTestCase {
  readonly name: string;
  readonly rows: number;
  readonly length: number;
  /** The largest of a logit from float64 torch; NaN where the model gave none. */
  readonly difference: number;
  readonly allowed: number;
  readonly passed: boolean;
  /** What is wrong, where it has not passed. */
  readonly problem?: string;
}

export interface SelfTestReport {
  readonly passed: boolean;
  /** How many golden vectors there are; each graph that may be run replays all of them. */
  readonly vectors: number;
  /** How many golden texts there are. */
  readonly texts: number;
  readonly largestDifference: number;
  /** The rule, in words. */
  readonly tolerance: string;
  readonly cases: readonly SelfTestCase[];
  /** What is wrong first, where it has not passed. */
  readonly problem?: string;
  readonly firstTextDifference?: string;
}

/** `predict` of each task: a label, a list of labels, a number or a list of numbers for each row. */
export type Answer = Label | Label[] | number[];

export interface Classifier {
  readonly manifest: Manifest;
  readonly signature: Signature;
  readonly decision: Decision;
  readonly labels: readonly Label[];
  readonly threshold: number | null;
  readonly takesText: boolean;
  readonly truncated: number;
  encode(texts: readonly string[] | TensorLike): Promise<{ data: BigInt64Array; dims: number[] }>;
  predictLogits(rows: Rows): Promise<{ data: Float32Array; dims: number[] }>;
  predictProba(rows: Rows): Promise<number[][]>;
  predictProba<T extends number[] | number[][]>(rows: Rows): Promise<T[]>;
  predict<T extends Answer = Answer>(rows: Rows): Promise<T[]>;
  predictWithProbability(rows: Rows): Promise<{ labels: Label[]; probabilities: number[] }>;
  predictWithProbability<L extends Label | Label[], P extends number | number[]>(
    rows: Rows,
  ): Promise<{ labels: L[]; probabilities: P[] }>;
  selfTest(): Promise<SelfTestReport>;
  close(): Promise<void>;
}

/** Open a bundle: its manifest and what is run of it are checked against their digests. */
export function open(
  folderOrUrl: string | URL,
  ort: OnnxRuntime,
  options?: Options,
): Promise<Classifier>;

/** Base of every error that is raised on purpose; its message is one line. */
export class PeDeployError extends Error {
  /** The message without the row. */
  readonly reason: string;
  /** The row that is to blame, counted from 0. */
  readonly row: number | undefined;
}
export class InvalidInputError extends PeDeployError {}
export class PredictionError extends PeDeployError {}
export class BundleError extends PeDeployError {}
export class ParityError extends PeDeployError {}
export class MissingDependencyError extends PeDeployError {}
