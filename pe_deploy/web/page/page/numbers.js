// Numbers as Python writes them.

/** A double in the fewest decimals that give it back, as `repr` of Python has it. */
export function floatText(number) {
  if (Number.isInteger(number) && Math.abs(number) < 1e16) {
    return `${Object.is(number, -0) ? "-0" : number}.0`;
  }
  const size = Math.abs(number);
  if (size >= 1e-4 && size < 1e16) {
    return size >= 1e-6 && size < 1e21 ? String(number) : number.toString();
  }
  const [digits, exponent] = number.toExponential().split("e");
  const sign = exponent[0];
  return `${digits}e${sign}${exponent.slice(1).padStart(2, "0")}`;
}

/** The double with the fewest decimals that give this float32 back. */
export function ofFloat32(number) {
  for (let digits = 1; digits <= 9; digits++) {
    const tried = Number(number.toPrecision(digits));
    if (Math.fround(tried) === number) return tried;
  }
  return number;
}
