"use strict";
// Tiles as the server packs them (perfscope/analyzer/timeline/tiles.py), unpacked for drawing; and the names on the timeline.
(() => {
  const own = (window.perfscopeTimeline = window.perfscopeTimeline || {});
  const MAGIC = 0x4c544650;
  const VERSION = 1;
  const EMPTY = 0;
  const RECTANGLES = 1;
  const PIXELS = 2;
  const RUNS = 3;
  const LEVELS = 4;
  const NAMES_AT_ONCE = 4096;

  // A lane of a tile is {x, w, code} in pixels for single events, or {busy, code} with an entry a pixel, or null.
  own.decode = (buffer, from, to) => {
    const head = new DataView(buffer);
    if (head.getUint32(0, true) !== MAGIC || head.getUint16(4, true) !== VERSION)
      throw new Error("not a tile of this version");
    const count = head.getUint32(8, true);
    const pixels = head.getUint32(12, true);
    const lanes = new Map();
    let at = 16;
    for (let left = count; left > 0; left--) {
      const number = head.getUint32(at, true);
      const kind = head.getUint8(at + 4);
      const wide = head.getUint8(at + 5);
      const n = head.getUint32(at + 8, true);
      const p = head.getUint32(at + 12, true);
      at += 16;
      const palette = new Uint32Array(buffer, at, p);
      at += 4 * p;
      const index = (offset) => new (wide === 1 ? Uint8Array : Uint16Array)(buffer, offset, n);
      if (kind === RECTANGLES) {
        lanes.set(number, rectangles(buffer, at, n, palette, index(at + 4 * n)));
      } else if (kind === PIXELS) {
        lanes.set(number, dense(index(at), new Uint8Array(buffer, at + wide * n, n), palette));
      } else if (kind === RUNS) {
        lanes.set(
          number,
          runs(
            pixels,
            new Uint16Array(buffer, at, n),
            index(at + 2 * n),
            new Uint8Array(buffer, at + (2 + wide) * n, n),
            palette,
          ),
        );
      } else if (kind === LEVELS) {
        lanes.set(number, levels(new Uint8Array(buffer, at, n), palette));
      } else if (kind === EMPTY) {
        lanes.set(number, null);
      }
      const body =
        kind === RECTANGLES
          ? (4 + wide) * n
          : kind === PIXELS
            ? (1 + wide) * n
            : kind === RUNS
              ? (3 + wide) * n
              : kind === LEVELS
                ? n
                : 0;
      at += body + (-body & 3);
    }
    return { from, to, pixels, lanes, bytes: buffer.byteLength };
  };

  function rectangles(buffer, at, n, palette, index) {
    const left = new Uint16Array(buffer, at, n);
    const wide = new Uint16Array(buffer, at + 2 * n, n);
    const x = new Float32Array(n);
    const w = new Float32Array(n);
    const code = new Uint32Array(n);
    for (let i = 0; i < n; i++) {
      x[i] = left[i] / 8;
      w[i] = wide[i] / 8;
      code[i] = palette[index[i]];
    }
    return { x, w, code };
  }

  function dense(index, busy, palette) {
    const code = new Uint32Array(index.length);
    for (let i = 0; i < code.length; i++) code[i] = palette[index[i]];
    return { busy, code };
  }

  // A counter: how high each pixel is drawn, in one colour.
  function levels(busy, palette) {
    return {
      busy,
      code: new Uint32Array(busy.length).fill(palette[0]),
      level: true,
      long: { x: [], w: [], code: [] },
    };
  }

  function runs(pixels, length, index, share, palette) {
    const busy = new Uint8Array(pixels);
    const code = new Uint32Array(pixels);
    for (let i = 0, x = 0; i < length.length; x += length[i++]) {
      busy.fill(share[i], x, x + length[i]);
      code.fill(palette[index[i]], x, x + length[i]);
    }
    return { busy, code };
  }

  // Names by code; what is not here yet is asked for in blocks, and `arrived` is called when it has come.
  own.Names = class {
    constructor(texts, count, fetchBlock, arrived) {
      this.blocks = new Map();
      this.count = count;
      this.fetchBlock = fetchBlock;
      this.arrived = arrived;
      for (let at = 0; at < texts.length; at += NAMES_AT_ONCE)
        this.blocks.set(at / NAMES_AT_ONCE, texts.slice(at, at + NAMES_AT_ONCE));
      this.short = new Map();
    }
    text(code) {
      const number = Math.floor(code / NAMES_AT_ONCE);
      const block = this.blocks.get(number);
      if (block) return block[code % NAMES_AT_ONCE] || "";
      if (block === undefined && this.fetchBlock) {
        this.blocks.set(number, null);
        this.fetchBlock(number * NAMES_AT_ONCE, NAMES_AT_ONCE).then(
          (texts) => {
            this.blocks.set(number, texts);
            this.arrived();
          },
          () => this.blocks.delete(number),
        );
      }
      return "";
    }
    // What stands in a bar: a kernel's name without return type, namespaces and template arguments.
    label(code) {
      let found = this.short.get(code);
      if (found === undefined) {
        found = own.shortened(this.text(code));
        if (found) this.short.set(code, found);
      }
      return found;
    }
  };

  own.shortened = (text) => {
    if (/^[\w.\/-]+\.py\(\d+\): /.test(text)) return text.replace(/^.*?\(\d+\): /, "");
    if (!/^void |^[\w:]+<|::.*[<(]/.test(text)) return text;
    const bare = text.replace(/^void /, "").replace(/\(anonymous namespace\)::/g, "");
    const end = bare.search(/[<(]/);
    return (end > 0 ? bare.slice(0, end) : bare).replace(/^(?:\w+::)*?(?=\w+$)/, "") || text;
  };

  own.bytesOf = (base64) => Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
})();
