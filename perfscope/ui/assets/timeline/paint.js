"use strict";
// From a tile to pixels: every lane becomes one line of colours, which is copied down its row; waits are hatched.
(() => {
  const own = window.perfscopeTimeline;
  const LEAST = 0.34; // how strong the shortest event is drawn: what is there must be seen
  const HATCH = 8;
  const STRIPE = 3;
  const OPAQUE = 255 << 24;
  const STRENGTH = Uint16Array.from({ length: 256 }, (_, share) =>
    Math.round(256 * (LEAST + ((1 - LEAST) * share) / 255)),
  );

  const rgb = (text) => {
    const found = /^#(..)(..)(..)$/.exec(text.trim());
    return found ? found.slice(1).map((one) => parseInt(one, 16)) : [128, 128, 128];
  };
  const luminance = ([r, g, b]) => {
    const linear = (c) => {
      const s = c / 255;
      return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    };
    return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  };
  const pack = (r, g, b) => (r | (g << 8) | (b << 16) | (255 << 24)) >>> 0;

  // The theme's colours, read from the page; one shade a name, so that neighbours can be told apart.
  own.theme = (element, meta, palette) => {
    const style = getComputedStyle(element);
    const said = (name) =>
      palette ? palette[name] || "" : style.getPropertyValue(`--${name.replace(/_/g, "-")}`).trim();
    const names = ["bg", "surface", "text", "muted", "line", "accent"];
    const theme = Object.fromEntries(names.map((name) => [name, said(name)]));
    theme.ground = rgb(theme.bg);
    theme.dark = luminance(theme.ground) < 0.2;
    theme.fills = meta.colours.map((name) => rgb(said(name)));
    theme.css = theme.fills.map(([r, g, b]) => `rgb(${r},${g},${b})`);
    theme.inks = theme.fills.map((fill) =>
      (luminance(fill) + 0.05) / 0.05 > 1.05 / (luminance(fill) + 0.05) ? "#000" : "#fff",
    );
    return theme;
  };

  own.shades = (theme, colours, neutral) => {
    const shades = new Uint8Array(colours.length * 3);
    for (let code = 0; code < colours.length; code++) {
      const fill = theme.fills[colours[code]];
      const turn =
        ((Math.imul(code + 1, 2654435761) >>> 24) / 255 - 0.5) *
        (neutral[colours[code]] ? 0.1 : 0.24);
      for (let i = 0; i < 3; i++)
        shades[3 * code + i] =
          turn < 0 ? fill[i] * (1 + turn) : fill[i] + (255 - fill[i]) * turn * 0.6;
    }
    return shades;
  };

  // Single events as shares of pixels: like the server does for many, but with edges where bars are wide enough.
  own.spread = spread;
  function spread(lane, pixels, line) {
    const { busy, code, edge } = line;
    const { x, w, code: codes } = lane;
    busy.fill(0);
    edge.fill(0);
    const most = line.most.fill(0);
    for (let i = 0; i < x.length; i++) {
      const left = x[i];
      const right = left + w[i];
      const first = Math.min(left | 0, pixels - 1);
      const last = Math.min(right | 0, pixels - 1);
      for (let at = first; at <= last; at++) {
        const part = Math.min(right, at + 1) - Math.max(left, at);
        if (at > first && part <= 0) break;
        if (part >= most[at]) {
          most[at] = part;
          code[at] = codes[i];
        }
        busy[at] = Math.min(255, Math.max(1, busy[at] + Math.ceil(part * 255)));
      }
      if (w[i] >= 3) edge[first] = 1;
    }
  }

  own.Painter = class {
    constructor() {
      this.canvas = document.createElement("canvas");
      this.pen = this.canvas.getContext("2d", { alpha: false });
      this.pixels = 0;
    }
    sized(pixels, height) {
      if (this.canvas.width !== pixels || this.canvas.height !== height) {
        this.canvas.width = pixels;
        this.canvas.height = height;
        this.image = this.pen.createImageData(pixels, height);
        this.out = new Uint32Array(this.image.data.buffer);
      }
      if (this.pixels !== pixels) {
        this.pixels = pixels;
        this.line = {
          busy: new Uint8Array(pixels),
          code: new Uint32Array(pixels),
          edge: new Uint8Array(pixels),
          most: new Float32Array(pixels),
        };
        this.colours = new Uint32Array(pixels);
        this.lit = new Uint32Array(pixels);
        this.striped = Array.from({ length: HATCH }, () => new Uint32Array(pixels));
      }
    }
    // rows: [{lane, y, h}] in device pixels; ink: {theme, shades, waiting, hits}, the last three with an entry a name
    paint(tile, rows, height, ink) {
      this.sized(tile.pixels, height);
      const ground = pack(...ink.theme.ground);
      this.out.fill(ground);
      for (const row of rows) {
        const lane = tile.lanes.get(row.lane);
        if (!lane) continue;
        if (lane.x) spread(lane, tile.pixels, this.line);
        this.row(lane.x ? this.line : lane, row, ground, ink);
      }
      this.pen.putImageData(this.image, 0, 0);
    }
    row(lane, row, ground, ink) {
      const { pixels, colours, out } = this;
      const { busy, code, edge } = lane;
      const { shades, hits } = ink;
      const waits = ink.waiting;
      const [gr, gg, gb] = ink.theme.ground;
      let hatched = 0;
      for (let x = 0; x < pixels; x++) {
        const share = busy[x];
        if (!share) {
          colours[x] = ground;
          continue;
        }
        const c = code[x];
        let v = STRENGTH[share];
        if (edge && edge[x]) v = (v * 115) >> 8;
        if (hits && !hits[c]) v = (v * 56) >> 8;
        hatched |= waits[c];
        colours[x] =
          (gr + (((shades[3 * c] - gr) * v) >> 8)) |
          ((gg + (((shades[3 * c + 1] - gg) * v) >> 8)) << 8) |
          ((gb + (((shades[3 * c + 2] - gb) * v) >> 8)) << 16) |
          OPAQUE;
      }
      const top = Math.max(row.y, 0);
      const end = Math.min(row.y + row.h, this.canvas.height);
      if (lane.level) {
        this.levels(lane, row, top, end, ground, ink);
        return;
      }
      if (hatched) this.stripe(lane, waits);
      for (let y = top; y < end; y++)
        out.set(hatched ? this.striped[y % HATCH] : colours, y * pixels);
    }
    // A counter's row: each pixel filled from below as high as its level, with a darker edge on top.
    levels(lane, row, top, end, ground, ink) {
      const { pixels, out } = this;
      const { busy, code } = lane;
      const { shades } = ink;
      const [gr, gg, gb] = ink.theme.ground;
      const c = 3 * code[0];
      const mixed = (v) =>
        (gr + (((shades[c] - gr) * v) >> 8)) |
        ((gg + (((shades[c + 1] - gg) * v) >> 8)) << 8) |
        ((gb + (((shades[c + 2] - gb) * v) >> 8)) << 16) |
        OPAQUE;
      const fill = mixed(110);
      const edge = mixed(256);
      for (let x = 0; x < pixels; x++) {
        if (!busy[x]) continue;
        const high = row.y + row.h - Math.max(1, Math.round((row.h * busy[x]) / 255));
        for (let y = Math.max(top, high); y < end; y++)
          out[y * pixels + x] = y === high ? edge : fill;
      }
    }
    // The same line with its waits lit where a stripe runs, for each of the rows that a stripe takes to repeat.
    stripe(lane, waits) {
      const { pixels, colours, lit, striped } = this;
      const { busy, code } = lane;
      lit.set(colours);
      for (let x = 0; x < pixels; x++) {
        if (!busy[x] || !waits[code[x]]) continue;
        const c = colours[x];
        const r = c & 255;
        const g = (c >> 8) & 255;
        const b = (c >> 16) & 255;
        lit[x] =
          (r + (((255 - r) * 56) >> 8)) |
          ((g + (((255 - g) * 56) >> 8)) << 8) |
          ((b + (((255 - b) * 56) >> 8)) << 16) |
          OPAQUE;
      }
      for (let phase = 0; phase < HATCH; phase++) {
        const line = striped[phase];
        line.set(colours);
        for (let x = -phase; x < pixels; x += HATCH) {
          for (let i = Math.max(x, 0), end = Math.min(x + STRIPE, pixels); i < end; i++)
            line[i] = lit[i];
        }
      }
    }
  };
})();
