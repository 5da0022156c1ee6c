"use strict";
// Reads the tiles of the server (perfscope/analyzer/timeline/tiles.py), and the names of events.
(() => {
  const shared = (window.perfscopeTimeline = window.perfscopeTimeline || {});
  const MAGIC = 0x4c544650;
  const VERSION = 1;
  const EMPTY = 0;
  const RECTANGLES = 1;
  const PIXELS = 2;
  const RUNS = 3;
  const LEVELS = 4;
  const LANE_HEADER_BYTES = 16;
  const NAMES_AT_ONCE = 4096;

  // A lane of a tile is {x, w, code} for single events, in pixels; {busy, code} with an entry per
  // pixel; or null.
  shared.decodeTile = (buffer, from, to) => {
    const header = new DataView(buffer);
    if (header.getUint32(0, true) !== MAGIC || header.getUint16(4, true) !== VERSION) {
      throw new Error("not a tile of this version");
    }
    const laneCount = header.getUint32(8, true);
    const pixels = header.getUint32(12, true);
    const lanes = new Map();
    let position = 16;
    for (let remaining = laneCount; remaining > 0; remaining--) {
      const number = header.getUint32(position, true);
      const kind = header.getUint8(position + 4);
      const indexBytes = header.getUint8(position + 5);
      const count = header.getUint32(position + 8, true);
      const paletteSize = header.getUint32(position + 12, true);
      position += LANE_HEADER_BYTES;
      const palette = new Uint32Array(buffer, position, paletteSize);
      position += 4 * paletteSize;
      const packed = { buffer, position, count, palette, indexBytes };
      lanes.set(number, decodeLane(kind, packed, pixels));
      const body = bodyBytes(kind, packed);
      const padding = -body & 3;
      position += body + padding;
    }
    return { from, to, pixels, lanes, bytes: buffer.byteLength };
  };

  function decodeLane(kind, packed, pixels) {
    if (kind === RECTANGLES) return decodeRectangles(packed);
    if (kind === PIXELS) return decodePixels(packed);
    if (kind === RUNS) return decodeRuns(packed, pixels);
    if (kind === LEVELS) return decodeLevels(packed);
    return null;
  }

  function bodyBytes(kind, { count, indexBytes }) {
    const bytesPerEntry = {
      [EMPTY]: 0,
      [RECTANGLES]: 4 + indexBytes,
      [PIXELS]: 1 + indexBytes,
      [RUNS]: 3 + indexBytes,
      [LEVELS]: 1,
    };
    return (bytesPerEntry[kind] || 0) * count;
  }

  // The palette indices at an offset of the lane's body.
  function indicesAt({ buffer, position, count, indexBytes }, offset) {
    const Indices = indexBytes === 1 ? Uint8Array : Uint16Array;
    return new Indices(buffer, position + offset, count);
  }

  function decodeRectangles(packed) {
    const { buffer, position, count, palette } = packed;
    const lefts = new Uint16Array(buffer, position, count);
    const widths = new Uint16Array(buffer, position + 2 * count, count);
    const indices = indicesAt(packed, 4 * count);
    const x = new Float32Array(count);
    const w = new Float32Array(count);
    const code = new Uint32Array(count);
    for (let i = 0; i < count; i++) {
      x[i] = lefts[i] / 8;
      w[i] = widths[i] / 8;
      code[i] = palette[indices[i]];
    }
    return { x, w, code };
  }

  function decodePixels(packed) {
    const { buffer, position, count, palette, indexBytes } = packed;
    const indices = indicesAt(packed, 0);
    const busy = new Uint8Array(buffer, position + indexBytes * count, count);
    const code = new Uint32Array(count);
    for (let i = 0; i < count; i++) code[i] = palette[indices[i]];
    return { busy, code };
  }

  function decodeRuns(packed, pixels) {
    const { buffer, position, count, palette, indexBytes } = packed;
    const lengths = new Uint16Array(buffer, position, count);
    const indices = indicesAt(packed, 2 * count);
    const shares = new Uint8Array(buffer, position + (2 + indexBytes) * count, count);
    const busy = new Uint8Array(pixels);
    const code = new Uint32Array(pixels);
    let begin = 0;
    for (let i = 0; i < count; i++) {
      const end = begin + lengths[i];
      busy.fill(shares[i], begin, end);
      code.fill(palette[indices[i]], begin, end);
      begin = end;
    }
    return { busy, code };
  }

  // A counter: the height of each pixel, in one color.
  function decodeLevels({ buffer, position, count, palette }) {
    return {
      busy: new Uint8Array(buffer, position, count),
      code: new Uint32Array(count).fill(palette[0]),
      level: true,
      long: { x: [], w: [], code: [] },
    };
  }

  // Names by code. Missing names are loaded in blocks; `onLoad` is called after each.
  shared.Names = class {
    constructor(texts, count, loadBlock, onLoad) {
      this.blocks = new Map();
      this.count = count;
      this.loadBlock = loadBlock;
      this.onLoad = onLoad;
      for (let first = 0; first < texts.length; first += NAMES_AT_ONCE) {
        const block = texts.slice(first, first + NAMES_AT_ONCE);
        this.blocks.set(first / NAMES_AT_ONCE, block);
      }
      this.labels = new Map();
    }

    text(code) {
      const number = Math.floor(code / NAMES_AT_ONCE);
      const block = this.blocks.get(number);
      if (block) return block[code % NAMES_AT_ONCE] || "";
      if (block === undefined && this.loadBlock) this.load(number);
      return "";
    }

    async load(number) {
      this.blocks.set(number, null);
      try {
        this.blocks.set(number, await this.loadBlock(number * NAMES_AT_ONCE, NAMES_AT_ONCE));
      } catch {
        this.blocks.delete(number);
        return;
      }
      this.onLoad();
    }

    // The text inside a bar.
    label(code) {
      let label = this.labels.get(code);
      if (label === undefined) {
        label = shared.shortName(this.text(code));
        if (label) this.labels.set(code, label);
      }
      return label;
    }
  };

  // A kernel's name without return type, namespaces and template arguments; a Python frame's
  // function without its file.
  shared.shortName = (text) => {
    if (/^[\w.\/-]+\.py\(\d+\): /.test(text)) return text.replace(/^.*?\(\d+\): /, "");
    if (!/^void |^[\w:]+<|::.*[<(]/.test(text)) return text;
    const name = text.replace(/^void /, "").replace(/\(anonymous namespace\)::/g, "");
    const end = name.search(/[<(]/);
    const withoutArguments = end > 0 ? name.slice(0, end) : name;
    return withoutArguments.replace(/^(?:\w+::)*?(?=\w+$)/, "") || text;
  };

  shared.decodeBase64 = (base64) =>
    Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
})();
