// Functions of the page, each called with every value that comes in as JSON.

import { readFileSync } from "node:fs";

import { CsvParser, delimiterOf, lineOf } from "./csv.js";
import { idsOf } from "./ids.js";
import { floatText, ofFloat32 } from "./numbers.js";
import { pixelsOf } from "./strokes.js";

const CALLS = {
  pixelsOf,
  floatText,
  ofFloat32,
  idsInText: (cell) => idsOf(cell).map(String),
  writtenLine: ({ cells, delimiter }) => lineOf(cells, delimiter),
  shownBy: (header) => delimiterOf(header, ["input_ids", "text"]),
  recordsOf({ text, delimiter, size }) {
    const parser = new CsvParser(delimiter);
    const records = [];
    for (let at = 0; at < text.length; at += size) {
      parser.push(text.slice(at, at + size), records);
    }
    parser.end(records);
    return records;
  },
};

const call = CALLS[process.argv[2]];
const given = JSON.parse(readFileSync(0, "utf8"));
const answers = given.map((each) => {
  try {
    return call(each);
  } catch (error) {
    return { error: error.message };
  }
});
console.log(JSON.stringify(answers));
