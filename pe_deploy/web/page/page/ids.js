// A list of ids that is written as text, in each way that tables are written with.

const INTEGER = /^[+-]?[0-9]+$/;
const OF_NUMPY = /np\.u?int\d+\((.*?)\)/g;
const LOWEST = -(2n ** 63n);
const HIGHEST = 2n ** 63n - 1n;
const LONGEST_SHOWN = 40;

/**
 * The members of a list, not yet known to be integers.
 *
 * They are separated by white space, `1 2 3`, or by commas, `1, 2, 3`, either of which may be in
 * brackets, as Python, pandas and numpy write lists.
 */
export function membersOf(cell) {
  let text = cell.replace(OF_NUMPY, "$1").trim();
  if (/^(?:\[.*\]|\(.*\))$/s.test(text)) text = text.slice(1, -1);
  if (!text.includes(",")) return text.split(/\s+/).filter(Boolean);
  const members = text.split(",").map((member) => member.trim());
  return members.at(-1) ? members : members.slice(0, -1); // Python's (1,)
}

/**
 * The ids of a list that is written as text.
 *
 * @throws {Error} naming the member that is no integer, or none of int64.
 */
export function idsOf(cell) {
  return membersOf(cell).map((member) => {
    if (!INTEGER.test(member)) {
      const cut = member === "..." ? "; the list was cut when it was printed: save all of it" : "";
      throw new Error(`${shown(`'${member}'`)} is not an integer; allowed: integers only${cut}`);
    }
    const id = Number(member);
    if (Number.isSafeInteger(id)) return id;
    const large = BigInt(member.replace(/^\+/, ""));
    if (large < LOWEST || large > HIGHEST) {
      throw new Error(`${shown(member)} is outside int64; allowed: ${LOWEST} to ${HIGHEST}`);
    }
    return large;
  });
}

const shown = (text) => (text.length <= LONGEST_SHOWN ? text : `${text.slice(0, LONGEST_SHOWN)}…`);
