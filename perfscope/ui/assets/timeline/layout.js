"use strict";
// Which lane lies where: groups and tracks from top to bottom, some shut, and what of them is in view. CSS pixels.
(() => {
  const own = window.perfscopeTimeline;
  const HEADER = 24;
  const GAP = 6;
  const HEIGHTS = {
    steps: 19,
    nvtx: 17,
    thread: 17,
    python: 15,
    calls: 19,
    loader: 21,
    stream: 22,
    counter: 26,
  };
  const ALONE = 21;
  const FIELDS = ["group", "kind", "title", "first", "rows", "events", "hidden", "shut", "tid"];

  own.tracks = (meta) =>
    meta.tracks.map((one, number) =>
      Object.assign({ number }, Object.fromEntries(FIELDS.map((name, at) => [name, one[at]]))),
    );

  // rows: {y, h, lane, track, top}; heads: {y, h, group}. `top` marks the first row of a track, where its name stands.
  own.layout = (meta, tracks, shutTracks, shutGroups) => {
    const rows = [];
    const heads = [];
    const several = meta.groups.length > 1;
    let y = 0;
    let group = -1;
    for (const track of tracks) {
      if (track.group !== group) {
        group = track.group;
        if (several) {
          heads.push({ y, h: HEADER, group });
          y += HEADER + 5;
        } else {
          y += 4;
        }
      }
      if (several && shutGroups.has(group)) continue;
      const h = track.rows === 1 && track.kind === "thread" ? ALONE : HEIGHTS[track.kind] || 17;
      const shown = shutTracks.has(track.number) ? Math.min(1, track.rows) : track.rows;
      const begin = y;
      for (let row = 0; row < shown; row++, y += h)
        rows.push({ y, h: h - 1, lane: track.first + row, track, top: row === 0 });
      y = Math.max(y, begin + 20) + GAP;
    }
    return { rows, heads, height: y };
  };

  // The rows that touch [top, bottom).
  own.visible = (layout, top, bottom) => {
    let low = 0;
    let high = layout.rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (layout.rows[middle].y + layout.rows[middle].h < top) low = middle + 1;
      else high = middle;
    }
    const found = [];
    for (let at = low; at < layout.rows.length && layout.rows[at].y < bottom; at++)
      found.push(layout.rows[at]);
    return found;
  };

  own.rowAt = (layout, y) => {
    const [row] = own.visible(layout, y, y + 0.5);
    return row && y >= row.y && y <= row.y + row.h + 1 ? row : null;
  };

  own.clamp = (value, least, most) => Math.min(Math.max(value, least), most);

  // A time with as many digits as it has meaning.
  own.time = (ns) => {
    const size = Math.abs(ns);
    const [unit, by] =
      size >= 1e9 ? ["s", 1e9] : size >= 1e6 ? ["ms", 1e6] : size >= 1e3 ? ["µs", 1e3] : ["ns", 1];
    const value = ns / by;
    const digits = by === 1 || Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
    return `${value.toFixed(digits)} ${unit}`;
  };

  own.count = (number) => Math.round(number).toLocaleString("en").replace(/,/g, "\u2009");

  // Ticks of the ruler: 1, 2 or 5 times a power of ten, one every `room` pixels or so.
  own.ticks = (from, to, width, room) => {
    const least = ((to - from) / width) * room;
    const power = 10 ** Math.floor(Math.log10(least));
    const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= least);
    const ticks = [];
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) ticks.push(at);
    return { step, ticks };
  };

  // A tick's words: the unit of the step, digits down to the step.
  own.tickLabel = (ns, step) => {
    const [unit, by] =
      Math.abs(ns) >= 1e9 && step >= 1e6
        ? ["s", 1e9]
        : step >= 1e5 || Math.abs(ns) >= 1e6
          ? ["ms", 1e6]
          : step >= 1e2 || Math.abs(ns) >= 1e3
            ? ["µs", 1e3]
            : ["ns", 1];
    const digits = own.clamp(Math.ceil(Math.log10(by / step) - 1e-9), 0, 9);
    return `${(ns / by).toFixed(digits)} ${unit}`;
  };
})();
