"use strict";
// The place of each lane, in CSS pixels: groups and tracks from top to bottom, some of them
// collapsed. Also the formats of numbers and times.
(() => {
  const shared = window.perfscopeTimeline;
  const HEADER_HEIGHT = 24;
  const GAP = 6;
  const LEAST_TRACK_HEIGHT = 20;
  const ROW_HEIGHTS = {
    steps: 19,
    nvtx: 17,
    thread: 17,
    python: 15,
    calls: 19,
    loader: 21,
    stream: 22,
    counter: 26,
  };
  const SINGLE_ROW_HEIGHT = 21;
  const DEFAULT_ROW_HEIGHT = 17;
  const TRACK_FIELDS = [
    "group",
    "kind",
    "title",
    "first",
    "rows",
    "events",
    "hidden",
    "collapsed",
    "tid",
  ];

  shared.readTracks = (meta) =>
    meta.tracks.map((values, number) => {
      const fields = TRACK_FIELDS.map((name, index) => [name, values[index]]);
      return { number, ...Object.fromEntries(fields) };
    });

  shared.trackOfLane = (tracks, lane) =>
    tracks.find((track) => lane >= track.first && lane < track.first + track.rows);

  shared.lanesOfTrack = (track) =>
    Array.from({ length: track.rows }, (_, row) => track.first + row);

  // rows: {y, h, lane, track, top}, where `top` marks the first row of a track, which has its
  // name; heads: {y, h, group}. Pinned tracks come first.
  shared.layout = (timeline) => {
    const { meta, collapsedTracks, collapsedGroups, pinnedTracks, shownRows } = timeline;
    const isPinned = (track) => pinnedTracks.has(track.number);
    const pinned = timeline.tracks.filter(isPinned);
    const tracks = timeline.tracks.filter((track) => !isPinned(track));
    const rows = [];
    const heads = [];
    const hasHeads = meta.groups.length > 1;
    let y = 0;
    let group = -1;
    for (const track of [...pinned, ...tracks]) {
      if (!isPinned(track) && track.group !== group) {
        group = track.group;
        if (hasHeads) {
          heads.push({ y, h: HEADER_HEIGHT, group });
          y += HEADER_HEIGHT + 5;
        } else {
          y += 4;
        }
      }
      if (hasHeads && !isPinned(track) && collapsedGroups.has(group)) continue;
      const height = Math.floor(rowHeight(track) * timeline.rowScale);
      const isCollapsed = collapsedTracks.has(track.number);
      const fitted = shownRows.get(track.number) || track.rows;
      const rowCount = isCollapsed ? Math.min(1, track.rows) : fitted;
      for (let row = 0; row < rowCount; row++) {
        const top = y + row * height;
        rows.push({ y: top, h: height - 1, lane: track.first + row, track, top: row === 0 });
      }
      y += Math.max(rowCount * height, LEAST_TRACK_HEIGHT) + GAP;
    }
    return { rows, heads, height: y };
  };

  function rowHeight(track) {
    if (track.rows === 1 && track.kind === "thread") return SINGLE_ROW_HEIGHT;
    return ROW_HEIGHTS[track.kind] || DEFAULT_ROW_HEIGHT;
  }

  // The rows that touch [top, bottom).
  shared.visibleRows = ({ rows }, top, bottom) => {
    let low = 0;
    let high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (rows[middle].y + rows[middle].h < top) low = middle + 1;
      else high = middle;
    }
    let end = low;
    while (end < rows.length && rows[end].y < bottom) end++;
    return rows.slice(low, end);
  };

  shared.rowAt = (layout, y) => {
    const [row] = shared.visibleRows(layout, y, y + 0.5);
    return row && y >= row.y && y <= row.y + row.h + 1 ? row : null;
  };

  shared.clamp = (value, least, most) => Math.min(Math.max(value, least), most);

  // A time with three significant digits.
  shared.formatTime = (ns) => {
    const [unit, divisor] = unitOf(Math.abs(ns));
    const value = ns / divisor;
    const size = Math.abs(value);
    let digits = 2;
    if (divisor === 1 || size >= 100) digits = 0;
    else if (size >= 10) digits = 1;
    return `${value.toFixed(digits)} ${unit}`;
  };

  function unitOf(ns) {
    if (ns >= 1e9) return ["s", 1e9];
    if (ns >= 1e6) return ["ms", 1e6];
    if (ns >= 1e3) return ["µs", 1e3];
    return ["ns", 1];
  }

  shared.formatCount = (number) => Math.round(number).toLocaleString("en");

  // Ticks of the ruler: 1, 2 or 5 times a power of ten, about one per `room` pixels.
  shared.ticks = (from, to, width, room) => {
    const leastStep = ((to - from) / width) * room;
    const power = 10 ** Math.floor(Math.log10(leastStep));
    const steps = [1, 2, 5, 10].map((factor) => factor * power);
    const step = steps.find((candidate) => candidate >= leastStep);
    const ticks = [];
    for (let tick = Math.ceil(from / step) * step; tick <= to; tick += step) ticks.push(tick);
    return { step, ticks };
  };

  // The label of a tick, with digits down to the step between ticks.
  shared.tickLabel = (ns, step) => {
    const [unit, divisor] = tickUnit(Math.abs(ns), step);
    const digits = shared.clamp(Math.ceil(Math.log10(divisor / step) - 1e-9), 0, 9);
    return `${(ns / divisor).toFixed(digits)} ${unit}`;
  };

  function tickUnit(ns, step) {
    if (ns >= 1e9 && step >= 1e6) return ["s", 1e9];
    if (step >= 1e5 || ns >= 1e6) return ["ms", 1e6];
    if (step >= 1e2 || ns >= 1e3) return ["µs", 1e3];
    return ["ns", 1];
  }
})();
