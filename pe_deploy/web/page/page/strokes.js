// From strokes of a pen to the 8 × 8 pixels of the UCI set of handwritten digits.
//
// That set was made by NIST's programs: a form's digit is made upright by the left ends of its top
// and its bottom, scaled to 20 × 32 in the middle of 32 × 32 bits, made about as thick as any other,
// and the bits of each 4 × 4 block are counted. They are 310 on average in the set, for each digit.

const BITS = 32;
const BLOCK = 4;
export const SIDE = BITS / BLOCK;
const WIDTH = 20;
const STRETCH = 1.4; // the most that one direction is scaled beyond the other
const INK = 310;
const THINNEST = 2.3; // radius of the pen
const THICKEST = 5.5;
const UPRIGHT = 0.8; // how much of the slant is taken out
const STEEPEST = 0.8;
const END = 0.1; // the share of the height that is the top, or the bottom
const STEPS = 8;

/**
 * The pixels of a drawing, 0 to 16, in reading order; null where nothing is drawn.
 *
 * @param {[number, number][][]} strokes the points of each, in any unit; y grows downwards.
 */
export function pixelsOf(strokes) {
  const points = strokes.flatMap(dense);
  if (!points.length) return null;
  const upright = shear(points);
  let thin = THINNEST;
  let thick = THICKEST;
  let bits = drawn(upright, thin);
  for (let step = 0; step < STEPS; step++) {
    const radius = (thin + thick) / 2;
    const tried = drawn(upright, radius);
    if (count(tried) < INK) [thin, bits] = [radius, tried];
    else thick = radius;
  }
  return counted(bits);
}

/** Points that are close enough to be a line, as seen in the bits. */
function dense(stroke) {
  const size = Math.max(extent(stroke, 0).size, extent(stroke, 1).size, 1e-6);
  const points = stroke.slice(0, 1);
  for (let at = 1; at < stroke.length; at++) {
    const [[x0, y0], [x1, y1]] = [stroke[at - 1], stroke[at]];
    const parts = Math.ceil((BITS * Math.hypot(x1 - x0, y1 - y0)) / size);
    for (let part = 1; part <= parts; part++) {
      points.push([x0 + ((x1 - x0) * part) / parts, y0 + ((y1 - y0) * part) / parts]);
    }
  }
  return points;
}

function extent(points, axis) {
  let low = Infinity;
  let high = -Infinity;
  for (const point of points) {
    low = Math.min(low, point[axis]);
    high = Math.max(high, point[axis]);
  }
  return { low, high, size: high - low, middle: (low + high) / 2 };
}

/** Make a drawing upright: the left end of its bottom comes below that of its top. */
function shear(points) {
  const { low, high, size } = extent(points, 1);
  if (!size) return points;
  const left = (some) => extent(some, 0).low;
  const top = left(points.filter(([, y]) => y <= low + END * size));
  const bottom = left(points.filter(([, y]) => y >= high - END * size));
  const slant = Math.max(-STEEPEST, Math.min(STEEPEST, (bottom - top) / size)) * UPRIGHT;
  return points.map(([x, y]) => [x - slant * y, y]);
}

/** The bits that a round pen leaves. */
function drawn(points, radius) {
  const [across, down] = [extent(points, 0), extent(points, 1)];
  const room = (most, { size }) => (most - 2 * radius) / Math.max(size, 1e-6);
  const [wide, high] = [room(WIDTH, across), room(BITS, down)];
  const scale = [Math.min(wide, high * STRETCH), Math.min(high, wide * STRETCH)];
  const bits = new Uint8Array(BITS * BITS);
  for (const [x, y] of points) {
    const column = (x - across.middle) * scale[0] + BITS / 2;
    const row = (y - down.middle) * scale[1] + BITS / 2;
    dot(bits, column, row, radius);
  }
  return bits;
}

function dot(bits, column, row, radius) {
  const from = (middle) => Math.max(0, Math.floor(middle - radius));
  const to = (middle) => Math.min(BITS - 1, Math.ceil(middle + radius));
  for (let y = from(row); y <= to(row); y++) {
    for (let x = from(column); x <= to(column); x++) {
      if ((x + 0.5 - column) ** 2 + (y + 0.5 - row) ** 2 <= radius ** 2) bits[y * BITS + x] = 1;
    }
  }
}

const count = (bits) => bits.reduce((sum, bit) => sum + bit, 0);

function counted(bits) {
  const pixels = new Array(SIDE * SIDE).fill(0);
  bits.forEach((bit, at) => {
    const row = Math.floor(at / BITS / BLOCK);
    const column = Math.floor((at % BITS) / BLOCK);
    pixels[row * SIDE + column] += bit;
  });
  return pixels;
}
