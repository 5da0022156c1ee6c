"use strict";
// From a tile to pixels: each lane becomes one line of colors, which is copied to each pixel row of
// the lane; waits are hatched. Also the colors of the theme.
(() => {
  const shared = window.perfscopeTimeline;
  const LEAST = 0.34; // the strength of the color of the shortest event, so that it is visible
  const HATCH = 8;
  const STRIPE = 3;
  const STRIPE_STRENGTH = 56;
  const MISS_STRENGTH = 56; // of events that do not match the search
  const EDGE_STRENGTH = 115;
  const OPAQUE = 255 << 24;
  const STRENGTH = Uint16Array.from({ length: 256 }, (_, share) =>
    Math.round(256 * (LEAST + ((1 - LEAST) * share) / 255)),
  );
  const PAGE_COLORS = ["bg", "surface", "text", "muted", "line", "accent"];

  const rgb = (text) => {
    const hex = /^#(..)(..)(..)$/.exec(text.trim());
    return hex ? hex.slice(1).map((digits) => parseInt(digits, 16)) : [128, 128, 128];
  };

  const luminance = ([red, green, blue]) => {
    const linear = (channel) => {
      const scaled = channel / 255;
      return scaled <= 0.04045 ? scaled / 12.92 : ((scaled + 0.055) / 1.055) ** 2.4;
    };
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
  };

  const inkOn = (fill) => {
    const contrastOfBlack = (luminance(fill) + 0.05) / 0.05;
    const contrastOfWhite = 1.05 / (luminance(fill) + 0.05);
    return contrastOfBlack > contrastOfWhite ? "#000" : "#fff";
  };

  const pack = (red, green, blue) => (red | (green << 8) | (blue << 16) | OPAQUE) >>> 0;

  // Moves one channel of a color toward that of another; 256 is all the way.
  const mix = (from, to, strength) => from + (((to - from) * strength) >> 8);

  // The theme's colors, from the palette or else from the page.
  shared.readTheme = (element, meta, palette) => {
    const style = getComputedStyle(element);
    const colorOf = (name) => {
      if (palette) return palette[name] || "";
      return style.getPropertyValue(`--${name.replace(/_/g, "-")}`).trim();
    };
    const theme = Object.fromEntries(PAGE_COLORS.map((name) => [name, colorOf(name)]));
    theme.ground = rgb(theme.bg);
    theme.dark = luminance(theme.ground) < 0.2;
    theme.fills = meta.colors.map((name) => rgb(colorOf(name)));
    theme.css = theme.fills.map(([red, green, blue]) => `rgb(${red},${green},${blue})`);
    theme.inks = theme.fills.map(inkOn);
    return theme;
  };

  // One shade of the category's color per name, so that bars next to each other differ: three
  // bytes per name.
  shared.nameShades = (theme, colors, isNeutral) => {
    const shades = new Uint8Array(colors.length * 3);
    for (let code = 0; code < colors.length; code++) {
      const fill = theme.fills[colors[code]];
      const hash = (Math.imul(code + 1, 2654435761) >>> 24) / 255 - 0.5;
      const shift = hash * (isNeutral[colors[code]] ? 0.1 : 0.24);
      for (let channel = 0; channel < 3; channel++) {
        const value = fill[channel];
        const shade = shift < 0 ? value * (1 + shift) : value + (255 - value) * shift * 0.6;
        shades[3 * code + channel] = shade;
      }
    }
    return shades;
  };

  // A line of a lane: per pixel the busy share of 255, the code of the name that covers most of it
  // (by `most`), and whether an event begins there.
  shared.emptyLine = (pixels) => ({
    busy: new Uint8Array(pixels),
    code: new Uint32Array(pixels),
    edge: new Uint8Array(pixels),
    most: new Float32Array(pixels),
  });

  // Converts single events to shares of pixels, as the server does for many events, but with edges
  // where bars are wide enough.
  shared.spread = (lane, pixels, line) => {
    const { busy, code, edge, most } = line;
    busy.fill(0);
    edge.fill(0);
    most.fill(0);
    for (let i = 0; i < lane.x.length; i++) {
      const left = lane.x[i];
      const right = left + lane.w[i];
      const first = Math.min(left | 0, pixels - 1);
      const last = Math.min(right | 0, pixels - 1);
      for (let pixel = first; pixel <= last; pixel++) {
        const covered = Math.min(right, pixel + 1) - Math.max(left, pixel);
        if (pixel > first && covered <= 0) break;
        if (covered >= most[pixel]) {
          most[pixel] = covered;
          code[pixel] = lane.code[i];
        }
        busy[pixel] = Math.min(255, Math.max(1, busy[pixel] + Math.ceil(covered * 255)));
      }
      if (lane.w[i] >= 3) edge[first] = 1;
    }
  };

  shared.Painter = class {
    constructor() {
      this.canvas = document.createElement("canvas");
      this.pen = this.canvas.getContext("2d", { alpha: false });
      this.pixels = 0;
    }

    setSize(pixels, height) {
      const { canvas } = this;
      if (canvas.width !== pixels || canvas.height !== height) {
        canvas.width = pixels;
        canvas.height = height;
        this.image = this.pen.createImageData(pixels, height);
        this.imagePixels = new Uint32Array(this.image.data.buffer);
      }
      if (this.pixels !== pixels) {
        this.pixels = pixels;
        this.line = shared.emptyLine(pixels);
        this.colors = new Uint32Array(pixels);
        this.striped = new Uint32Array(pixels);
        this.hatchLines = Array.from({ length: HATCH }, () => new Uint32Array(pixels));
      }
    }

    // rows: [{lane, y, h}] in device pixels; ink: {theme, shades, waiting, hits}, where the last
    // three have an entry per name.
    paint(tile, rows, height, ink) {
      this.setSize(tile.pixels, height);
      const ground = pack(...ink.theme.ground);
      this.imagePixels.fill(ground);
      for (const row of rows) {
        const lane = tile.lanes.get(row.lane);
        if (!lane) continue;
        if (lane.x) shared.spread(lane, tile.pixels, this.line);
        const line = lane.x ? this.line : lane;
        if (line.level) this.paintLevels(line, row, ink);
        else this.paintRow(line, row, ground, ink);
      }
      this.pen.putImageData(this.image, 0, 0);
    }

    paintRow(line, row, ground, ink) {
      const { pixels, colors, imagePixels } = this;
      const isHatched = this.setColors(line, ground, ink);
      if (isHatched) this.setHatchLines(line, ink.waiting);
      const { top, end } = this.visiblePart(row);
      for (let y = top; y < end; y++) {
        imagePixels.set(isHatched ? this.hatchLines[y % HATCH] : colors, y * pixels);
      }
    }

    visiblePart(row) {
      return { top: Math.max(row.y, 0), end: Math.min(row.y + row.h, this.canvas.height) };
    }

    // Sets the color of each pixel of a line; returns whether any of them waits.
    setColors(line, ground, ink) {
      const { pixels, colors } = this;
      const { busy, code, edge } = line;
      const { shades, hits, waiting } = ink;
      const [red, green, blue] = ink.theme.ground;
      let waits = 0;
      for (let x = 0; x < pixels; x++) {
        const share = busy[x];
        if (!share) {
          colors[x] = ground;
          continue;
        }
        const name = code[x];
        let strength = STRENGTH[share];
        if (edge && edge[x]) strength = (strength * EDGE_STRENGTH) >> 8;
        if (hits && !hits[name]) strength = (strength * MISS_STRENGTH) >> 8;
        waits |= waiting[name];
        const shade = 3 * name;
        colors[x] =
          mix(red, shades[shade], strength) |
          (mix(green, shades[shade + 1], strength) << 8) |
          (mix(blue, shades[shade + 2], strength) << 16) |
          OPAQUE;
      }
      return waits !== 0;
    }

    // A counter's row: each pixel is filled from the bottom up to its level, with a darker edge.
    paintLevels(line, row, ink) {
      const { pixels, imagePixels } = this;
      const { busy, code } = line;
      const [red, green, blue] = ink.theme.ground;
      const { top, end } = this.visiblePart(row);
      const shade = 3 * code[0];
      const colorOf = (strength) =>
        mix(red, ink.shades[shade], strength) |
        (mix(green, ink.shades[shade + 1], strength) << 8) |
        (mix(blue, ink.shades[shade + 2], strength) << 16) |
        OPAQUE;
      const fill = colorOf(110);
      const edge = colorOf(256);
      for (let x = 0; x < pixels; x++) {
        if (!busy[x]) continue;
        const levelTop = row.y + row.h - Math.max(1, Math.round((row.h * busy[x]) / 255));
        for (let y = Math.max(top, levelTop); y < end; y++) {
          imagePixels[y * pixels + x] = y === levelTop ? edge : fill;
        }
      }
    }

    // The pixel rows of the hatch, which repeat: the line with its waits lighter inside a stripe.
    setHatchLines(line, waiting) {
      const { pixels, colors, striped, hatchLines } = this;
      const { busy, code } = line;
      striped.set(colors);
      for (let x = 0; x < pixels; x++) {
        if (busy[x] && waiting[code[x]]) striped[x] = lighter(colors[x]);
      }
      for (let phase = 0; phase < HATCH; phase++) {
        const hatchLine = hatchLines[phase];
        hatchLine.set(colors);
        for (let stripe = -phase; stripe < pixels; stripe += HATCH) {
          const begin = Math.max(stripe, 0);
          const end = Math.min(stripe + STRIPE, pixels);
          for (let x = begin; x < end; x++) hatchLine[x] = striped[x];
        }
      }
    }
  };

  function lighter(color) {
    const red = color & 255;
    const green = (color >> 8) & 255;
    const blue = (color >> 16) & 255;
    return (
      mix(red, 255, STRIPE_STRENGTH) |
      (mix(green, 255, STRIPE_STRENGTH) << 8) |
      (mix(blue, 255, STRIPE_STRENGTH) << 16) |
      OPAQUE
    );
  }
})();
