// A QR encoder: byte mode, error correction level L. It knows
// only what a QR payload needs (ISO/IEC 18004).

const EC_PER_BLOCK = [0, 7, 10, 15, 20, 26, 18, 20, 24, 30, 18, 20, 24, 26, 30, 22, 24, 28, 30, 28, 28,
  28, 28, 30, 30, 26, 28, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30, 30];
const BLOCKS = [0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4, 4, 6, 6, 6, 6, 7, 8,
  8, 9, 9, 10, 12, 12, 12, 13, 14, 15, 16, 17, 18, 19, 19, 20, 21, 22, 24, 25];
const MAX_VERSION = 40;

/** The matrix of a text: rows of booleans, true is dark, without quiet zone. */
export function qrMatrix(text) {
  const bytes = new TextEncoder().encode(text);
  const version = smallestVersion(bytes.length);
  const grid = new Grid(version);
  grid.drawFunctionPatterns();
  grid.drawCodewords(interleave(dataCodewords(bytes, version), version));
  grid.applyBestMask();
  return grid.dark;
}

function rawModules(version) {
  let total = (16 * version + 128) * version + 64;
  if (version >= 2) {
    const align = Math.floor(version / 7) + 2;
    total -= (25 * align - 10) * align - 55;
    if (version >= 7) total -= 36;
  }
  return total;
}

const rawCodewords = (version) => Math.floor(rawModules(version) / 8);
const capacity = (version) => rawCodewords(version) - EC_PER_BLOCK[version] * BLOCKS[version];
const lengthBits = (version) => (version < 10 ? 8 : 16);

function smallestVersion(length) {
  for (let version = 1; version <= MAX_VERSION; version++) {
    if (4 + lengthBits(version) + 8 * length <= 8 * capacity(version)) return version;
  }
  throw new Error(`text of ${length} bytes is too long for a code`);
}

function dataCodewords(bytes, version) {
  const bits = [];
  const push = (value, count) => {
    for (let i = count - 1; i >= 0; i--) bits.push((value >>> i) & 1);
  };
  push(4, 4); // Byte mode.
  push(bytes.length, lengthBits(version));
  for (const byte of bytes) push(byte, 8);
  const total = 8 * capacity(version);
  push(0, Math.min(4, total - bits.length));
  push(0, (8 - (bits.length % 8)) % 8);
  for (let pad = 0xec; bits.length < total; pad ^= 0xec ^ 0x11) push(pad, 8);
  const words = [];
  for (let i = 0; i < bits.length; i += 8) words.push(parseInt(bits.slice(i, i + 8).join(''), 2));
  return words;
}

// Reed-Solomon over GF(256) with the polynomial 0x11d.
function multiply(x, y) {
  let z = 0;
  for (let i = 7; i >= 0; i--) {
    z = (z << 1) ^ ((z >>> 7) * 0x11d);
    z ^= ((y >>> i) & 1) * x;
  }
  return z;
}

function divisor(degree) {
  const result = new Array(degree).fill(0);
  result[degree - 1] = 1;
  let root = 1;
  for (let i = 0; i < degree; i++) {
    for (let j = 0; j < degree; j++) {
      result[j] = multiply(result[j], root);
      if (j + 1 < degree) result[j] ^= result[j + 1];
    }
    root = multiply(root, 2);
  }
  return result;
}

function remainder(data, generator) {
  const result = generator.map(() => 0);
  for (const word of data) {
    const factor = word ^ result.shift();
    result.push(0);
    generator.forEach((coefficient, i) => { result[i] ^= multiply(coefficient, factor); });
  }
  return result;
}

function interleave(data, version) {
  const count = BLOCKS[version];
  const short = Math.floor(rawCodewords(version) / count);
  const shortBlocks = count - (rawCodewords(version) % count);
  const generator = divisor(EC_PER_BLOCK[version]);
  const blocks = [];
  for (let i = 0, at = 0; i < count; i++) {
    const size = short - EC_PER_BLOCK[version] + (i < shortBlocks ? 0 : 1);
    const words = data.slice(at, at + size);
    at += size;
    blocks.push({ words, check: remainder(words, generator) });
  }
  const result = [];
  const longest = short - EC_PER_BLOCK[version] + 1;
  for (let i = 0; i < longest; i++) {
    for (const { words } of blocks) if (i < words.length) result.push(words[i]);
  }
  for (let i = 0; i < EC_PER_BLOCK[version]; i++) for (const { check } of blocks) result.push(check[i]);
  return result;
}

const MASKS = [
  (x, y) => (x + y) % 2 === 0,
  (x, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

class Grid {
  constructor(version) {
    this.version = version;
    this.size = 17 + 4 * version;
    this.dark = Array.from({ length: this.size }, () => new Array(this.size).fill(false));
    this.fixed = Array.from({ length: this.size }, () => new Array(this.size).fill(false));
  }

  #set(x, y, dark) {
    this.dark[y][x] = dark;
    this.fixed[y][x] = true;
  }

  drawFunctionPatterns() {
    for (let i = 0; i < this.size; i++) {
      this.#set(6, i, i % 2 === 0);
      this.#set(i, 6, i % 2 === 0);
    }
    for (const [x, y] of [[3, 3], [this.size - 4, 3], [3, this.size - 4]]) this.#drawFinder(x, y);
    const at = this.#alignment();
    const last = at.length - 1;
    at.forEach((x, i) => at.forEach((y, j) => {
      const finder = (i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0);
      if (!finder) this.#drawAlignment(x, y);
    }));
    this.#drawFormat(0);
    this.#drawVersion();
  }

  #alignment() {
    if (this.version === 1) return [];
    const count = Math.floor(this.version / 7) + 2;
    const step = Math.ceil((4 * this.version + 4) / (2 * count - 2)) * 2;
    const positions = [6];
    for (let at = this.size - 7; positions.length < count; at -= step) positions.splice(1, 0, at);
    return positions;
  }

  #drawFinder(cx, cy) {
    for (let dy = -4; dy <= 4; dy++) {
      for (let dx = -4; dx <= 4; dx++) {
        const [x, y] = [cx + dx, cy + dy];
        if (x < 0 || y < 0 || x >= this.size || y >= this.size) continue;
        const ring = Math.max(Math.abs(dx), Math.abs(dy));
        this.#set(x, y, ring !== 2 && ring !== 4);
      }
    }
  }

  #drawAlignment(cx, cy) {
    for (let dy = -2; dy <= 2; dy++) {
      for (let dx = -2; dx <= 2; dx++) {
        this.#set(cx + dx, cy + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
      }
    }
  }

  #drawFormat(mask) {
    const data = (1 << 3) | mask; // Level L has the number 1.
    let rest = data;
    for (let i = 0; i < 10; i++) rest = (rest << 1) ^ ((rest >>> 9) * 0x537);
    const bits = ((data << 10) | rest) ^ 0x5412;
    const bit = (i) => ((bits >>> i) & 1) === 1;
    for (let i = 0; i <= 5; i++) this.#set(8, i, bit(i));
    this.#set(8, 7, bit(6));
    this.#set(8, 8, bit(7));
    this.#set(7, 8, bit(8));
    for (let i = 9; i < 15; i++) this.#set(14 - i, 8, bit(i));
    for (let i = 0; i < 8; i++) this.#set(this.size - 1 - i, 8, bit(i));
    for (let i = 8; i < 15; i++) this.#set(8, this.size - 15 + i, bit(i));
    this.#set(8, this.size - 8, true);
  }

  #drawVersion() {
    if (this.version < 7) return;
    let rest = this.version;
    for (let i = 0; i < 12; i++) rest = (rest << 1) ^ ((rest >>> 11) * 0x1f25);
    const bits = (this.version << 12) | rest;
    for (let i = 0; i < 18; i++) {
      const [a, b] = [this.size - 11 + (i % 3), Math.floor(i / 3)];
      const dark = ((bits >>> i) & 1) === 1;
      this.#set(a, b, dark);
      this.#set(b, a, dark);
    }
  }

  drawCodewords(words) {
    let i = 0;
    for (let right = this.size - 1; right >= 1; right -= 2) {
      if (right === 6) right = 5;
      for (let step = 0; step < this.size; step++) {
        for (const x of [right, right - 1]) {
          const upward = ((right + 1) & 2) === 0;
          const y = upward ? this.size - 1 - step : step;
          if (this.fixed[y][x] || i >= words.length * 8) continue;
          this.dark[y][x] = ((words[i >>> 3] >>> (7 - (i & 7))) & 1) === 1;
          i++;
        }
      }
    }
  }

  applyBestMask() {
    let best = 0;
    let least = Infinity;
    MASKS.forEach((_, mask) => {
      this.#mask(mask);
      const penalty = this.#penalty();
      if (penalty < least) [best, least] = [mask, penalty];
      this.#mask(mask); // Masking twice undoes it.
    });
    this.#mask(best);
  }

  #mask(mask) {
    this.#drawFormat(mask);
    for (let y = 0; y < this.size; y++) {
      for (let x = 0; x < this.size; x++) {
        if (!this.fixed[y][x] && MASKS[mask](x, y)) this.dark[y][x] = !this.dark[y][x];
      }
    }
  }

  // Long runs, blocks, and imbalance count against a mask. The rule about
  // patterns like finders is left out: readers don't need it.
  #penalty() {
    let penalty = 0;
    let dark = 0;
    for (let y = 0; y < this.size; y++) {
      let [row, column] = [0, 0];
      for (let x = 0; x < this.size; x++) {
        row = x > 0 && this.dark[y][x] === this.dark[y][x - 1] ? row + 1 : 1;
        column = x > 0 && this.dark[x][y] === this.dark[x - 1][y] ? column + 1 : 1;
        for (const run of [row, column]) penalty += run === 5 ? 3 : run > 5 ? 1 : 0;
        if (this.dark[y][x]) dark++;
        if (x > 0 && y > 0 && this.#square(x, y)) penalty += 3;
      }
    }
    return penalty + 10 * Math.floor(Math.abs(20 * dark - 10 * this.size ** 2) / this.size ** 2);
  }

  #square(x, y) {
    const colour = this.dark[y][x];
    return this.dark[y - 1][x] === colour && this.dark[y][x - 1] === colour && this.dark[y - 1][x - 1] === colour;
  }
}
