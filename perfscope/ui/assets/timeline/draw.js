"use strict";
// One frame: the last exact picture, scaled to where the hand is, and over it names, ruler, marks, selection, arrows.
(() => {
  const own = window.perfscopeTimeline;
  const FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  const LABEL = `11px ${FONT}`;
  const NAME = `600 12px ${FONT}`;
  const SMALL = `11px ${FONT}`;
  const LEAST_LABEL = 26;
  const FAR = 3;

  own.x = (t, ns) => t.size.gutter + ((ns - t.view.from) / (t.view.to - t.view.from)) * t.size.plot;
  own.ns = (t, x) => t.view.from + ((x - t.size.gutter) / t.size.plot) * (t.view.to - t.view.from);

  own.drawFrame = (t) => {
    const { pen, size } = t;
    const names = [t.layout, t.theme, t.view.scroll, size.width, size.height];
    pen.setTransform(size.dpr, 0, 0, size.dpr, 0, 0);
    clipped(t, () => {
      bars(t);
      grid(t);
      labels(t);
      bands(t);
      arrows(t);
      chosen(t);
    });
    ruler(t);
    if (t.named && names.every((one, at) => one === t.named[at])) return;
    gutter(t);
    t.named = names;
  };

  function clipped(t, draw) {
    const { pen, size } = t;
    pen.save();
    pen.beginPath();
    pen.rect(size.gutter, size.ruler, size.plot, size.height - size.ruler);
    pen.clip();
    draw();
    pen.restore();
  }

  function bars(t) {
    const { pen, size, view, now } = t;
    const all =
      now &&
      now.layout === t.layout &&
      now.scroll === view.scroll &&
      now.from <= view.from &&
      now.to >= view.to;
    pen.imageSmoothingEnabled = false;
    if (!all) {
      pen.fillStyle = t.theme.bg;
      pen.fillRect(size.gutter, size.ruler, size.plot, size.height - size.ruler);
    }
    for (const shot of all ? [now] : [t.base, now])
      if (shot && shot.layout === t.layout) picture(t, shot);
  }

  // The part of a picture that is in view, at its place and scale. What lies under it goes: it is exact, the older is not.
  function picture(t, shot) {
    const { pen, size, view } = t;
    const span = shot.to - shot.from;
    const image = shot.painter.canvas;
    const from = Math.max(view.from, shot.from);
    const to = Math.min(view.to, shot.to);
    if (to <= from) return;
    const left = ((from - shot.from) / span) * image.width;
    const wide = ((to - from) / span) * image.width;
    const x = own.x(t, from);
    const w = own.x(t, to) - x;
    pen.drawImage(
      image,
      left,
      0,
      Math.max(wide, 1e-3),
      image.height,
      x,
      size.ruler + shot.scroll - view.scroll,
      w,
      image.height / size.dpr,
    );
  }

  function grid(t) {
    const { pen, size, theme } = t;
    const { ticks } = own.ticks(t.view.from - t.zero, t.view.to - t.zero, size.plot, 110);
    pen.globalAlpha = 0.55;
    pen.fillStyle = theme.line;
    for (const tick of ticks)
      pen.fillRect(Math.round(own.x(t, tick + t.zero)), size.ruler, 1, size.height);
    pen.globalAlpha = 1;
  }

  // As much of a text as fits.
  own.fitted = (t, text, room) => {
    if (!text || room < LEAST_LABEL) return "";
    let wide = t.widths.get(text);
    if (wide === undefined) {
      if (t.widths.size > 5000) t.widths.clear();
      t.widths.set(text, (wide = t.pen.measureText(text).width));
    }
    if (wide <= room) return text;
    const keep = Math.floor((text.length * (room - 8)) / wide);
    return keep < 3 ? "" : `${text.slice(0, keep)}…`;
  };

  function labels(t) {
    const shot = t.now;
    const { pen, size, view } = t;
    if (!shot || shot.layout !== t.layout) return;
    pen.font = LABEL;
    pen.textBaseline = "middle";
    const scale = (((shot.to - shot.from) / (view.to - view.from)) * size.plot) / shot.tile.pixels;
    const offset = own.x(t, shot.from);
    for (const row of own.visible(t.layout, view.scroll, view.scroll + size.height - size.ruler)) {
      const lane = shot.tile.lanes.get(row.lane);
      if (!lane) continue;
      const { x, w, code } = lane.x ? lane : lane.long || (lane.long = longRuns(lane));
      const least = LEAST_LABEL / scale;
      const middle = size.ruler + row.y - view.scroll + row.h / 2 + 0.5;
      for (let i = 0; i < x.length; i++) {
        if (w[i] < least) continue;
        const left = Math.max(offset + x[i] * scale, size.gutter);
        const right = Math.min(offset + (x[i] + w[i]) * scale, size.width);
        const text = own.fitted(t, t.names.label(code[i]), right - left - 8);
        if (!text) continue;
        pen.fillStyle =
          t.hits && !t.hits[code[i]] ? t.theme.muted : t.theme.inks[t.colours[code[i]]];
        pen.fillText(text, left + 4, middle);
      }
    }
  }

  // Stretches of a fuller lane that have one name and no gap.
  function longRuns(lane) {
    const x = [];
    const w = [];
    const code = [];
    for (let at = 0; at < lane.busy.length;) {
      let end = at + 1;
      while (end < lane.busy.length && lane.code[end] === lane.code[at] && lane.busy[end] > 250)
        end++;
      if (end - at >= LEAST_LABEL && lane.busy[at] > 0) {
        x.push(at);
        w.push(end - at);
        code.push(lane.code[at]);
      }
      at = end;
    }
    return { x, w, code };
  }

  // What findings point at: a bar under the ruler; the one that was asked for as a band.
  function bands(t) {
    const { pen, size, theme } = t;
    for (const mark of t.meta.marks) {
      const left = own.x(t, mark.from);
      const right = Math.max(own.x(t, mark.to), left + 3);
      if (right < size.gutter || left > size.width) continue;
      pen.fillStyle = theme.css[t.meta.colours.indexOf(mark.colour)] || theme.accent;
      pen.fillRect(left, size.ruler, right - left, 4);
    }
    if (t.shown) band(t, t.shown, 0.1, "");
    if (t.selection)
      band(t, t.selection, 0.16, own.time(Math.abs(t.selection.to - t.selection.from)));
  }

  function band(t, interval, strength, words) {
    const { pen, size, theme } = t;
    const left = own.x(t, Math.min(interval.from, interval.to));
    const right = Math.max(own.x(t, Math.max(interval.from, interval.to)), left + 1);
    let top = size.ruler;
    let bottom = size.height;
    if (interval.top !== undefined) {
      top = Math.max(size.ruler + interval.top - t.view.scroll, size.ruler);
      bottom = size.ruler + interval.bottom - t.view.scroll;
    }
    pen.fillStyle = theme.accent;
    pen.globalAlpha = strength;
    pen.fillRect(left, top, right - left, bottom - top);
    pen.globalAlpha = 1;
    pen.fillRect(left - 1, top, 1.5, bottom - top);
    pen.fillRect(right - 0.5, top, 1.5, bottom - top);
    if (words && right - left > 54) {
      pen.font = NAME;
      pen.textBaseline = "alphabetic";
      const wide = pen.measureText(words).width;
      const middle = own.clamp(
        (left + right) / 2,
        size.gutter + wide / 2 + 6,
        size.width - wide / 2 - 6,
      );
      const down = Math.min(bottom, size.height) - 10;
      pen.fillStyle = theme.bg;
      pen.fillRect(middle - wide / 2 - 6, down - 14, wide + 12, 20);
      pen.fillStyle = theme.accent;
      pen.fillText(words, middle - wide / 2, down);
    }
  }

  const rowOfLane = (t, lane) => t.layout.rows.find((row) => row.lane === lane) || shutRow(t, lane);
  // A lane inside a shut track: its first row stands for it.
  function shutRow(t, lane) {
    const track = t.tracks.find((one) => lane >= one.first && lane < one.first + one.rows);
    return track && t.layout.rows.find((row) => row.track === track);
  }
  own.rowOfLane = rowOfLane;

  function outline(t, place, width) {
    const row = rowOfLane(t, place.lane);
    if (!row) return null;
    const left = own.x(t, place.ts_ns);
    const right = Math.max(own.x(t, place.ts_ns + place.dur_ns), left + 2);
    const top = t.size.ruler + row.y - t.view.scroll;
    t.pen.lineWidth = width;
    t.pen.strokeStyle = t.theme.text;
    t.pen.strokeRect(left + 0.5, top + 0.5, right - left - 1, row.h - 1);
    return { left, right, middle: top + row.h / 2, top, bottom: top + row.h };
  }

  function chosen(t) {
    if (t.chosen) outline(t, t.chosen, 2);
  }

  // From the operator to its call to what that started.
  function arrows(t) {
    if (!t.chosen) return;
    const here = outline(t, t.chosen, 2);
    const { causes, effects } = t.chosen;
    if (!here) return;
    const chain = [...causes, { ...t.chosen, role: "here" }];
    for (let i = 0; i + 1 < chain.length; i++) arrow(t, chain[i], chain[i + 1]);
    const calls = effects.filter((one) => one.role === "launch");
    for (const call of calls) arrow(t, t.chosen, call);
    for (const one of effects)
      if (one.role !== "launch")
        arrow(t, calls.filter((call) => call.ts_ns <= one.ts_ns).pop() || t.chosen, one);
  }

  function arrow(t, from, to) {
    const a = rowOfLane(t, from.lane);
    const b = rowOfLane(t, to.lane);
    const { pen, size, view, theme } = t;
    if (!a || !b) return;
    const x0 = own.x(t, from.ts_ns + Math.min(from.dur_ns, Math.max(to.ts_ns - from.ts_ns, 0)));
    const x1 = own.x(t, to.ts_ns);
    if (Math.max(x0, x1) < size.gutter - 2000 || Math.min(x0, x1) > size.width + 2000) return;
    const down = b.y > a.y;
    const y0 = size.ruler + a.y - view.scroll + (down ? a.h : 0);
    const y1 = size.ruler + b.y - view.scroll + (down ? 0 : b.h);
    const bend = own.clamp(Math.abs(y1 - y0) * 0.5, 8, 60) * (down ? 1 : -1);
    pen.strokeStyle = pen.fillStyle = theme.text;
    pen.globalAlpha = 0.75;
    pen.lineWidth = 1.2;
    pen.beginPath();
    pen.moveTo(x0, y0);
    pen.bezierCurveTo(x0, y0 + bend, x1, y1 - bend, x1, y1);
    pen.stroke();
    pen.beginPath();
    pen.moveTo(x1, y1);
    pen.lineTo(x1 - 3.5, y1 - (down ? 6 : -6));
    pen.lineTo(x1 + 3.5, y1 - (down ? 6 : -6));
    pen.fill();
    pen.globalAlpha = 1;
  }

  function ruler(t) {
    const { pen, size, theme, view } = t;
    pen.fillStyle = theme.surface;
    pen.fillRect(0, 0, size.width, size.ruler);
    pen.fillStyle = theme.line;
    pen.fillRect(0, size.ruler - 1, size.width, 1);
    pen.font = SMALL;
    pen.textBaseline = "middle";
    const { step, ticks } = own.ticks(view.from - t.zero, view.to - t.zero, size.plot, 110);
    for (const tick of ticks) {
      const x = Math.round(own.x(t, tick + t.zero));
      if (x < size.gutter - 1) continue;
      pen.fillStyle = theme.line;
      pen.fillRect(x, 0, 1, size.ruler);
      pen.fillStyle = theme.muted;
      pen.fillText(own.tickLabel(tick, step), x + 5, size.ruler / 2);
    }
    pen.fillStyle = theme.surface;
    pen.fillRect(0, 0, size.gutter, size.ruler - 1);
    pen.fillStyle = theme.muted;
    pen.fillText(`${own.time(view.to - view.from)} in view`, 14, size.ruler / 2);
  }

  function gutter(t) {
    const { pen, size, theme, view } = t;
    const height = size.height - size.ruler;
    pen.fillStyle = theme.bg;
    pen.fillRect(0, size.ruler, size.gutter, height);
    pen.save();
    pen.beginPath();
    pen.rect(0, size.ruler, size.width, height);
    pen.clip();
    pen.textBaseline = "middle";
    for (const head of t.layout.heads) groupHead(t, head);
    let last = null;
    for (const row of own.visible(t.layout, view.scroll - 20, view.scroll + height)) {
      if (row.top) trackName(t, row);
      else if (last === null) trackName(t, { ...row, y: Math.max(view.scroll, row.y) });
      last = row;
    }
    pen.restore();
    pen.fillStyle = theme.line;
    pen.fillRect(size.gutter - 1, size.ruler, 1, height);
  }

  function groupHead(t, head) {
    const { pen, size, theme, view } = t;
    const y = size.ruler + head.y - view.scroll;
    if (y < size.ruler - head.h || y > size.height) return;
    pen.fillStyle = theme.surface;
    pen.fillRect(0, y, size.width, head.h);
    pen.fillStyle = theme.line;
    pen.fillRect(0, y, size.width, 1);
    pen.font = NAME;
    pen.fillStyle = theme.text;
    triangle(t, 9, y + head.h / 2, t.shutGroups.has(head.group));
    pen.fillText(
      own.fitted(t, t.meta.groups[head.group][0], size.width - 40),
      22,
      y + head.h / 2 + 0.5,
    );
  }

  function trackName(t, row) {
    const { pen, size, theme, view } = t;
    const { track } = row;
    const y = size.ruler + row.y - view.scroll;
    const middle = y + Math.min(Math.max(row.h, 14), 20) / 2 + 0.5;
    const count = own.count(track.events);
    if (track.rows > 1) triangle(t, 9, middle, t.shutTracks.has(track.number));
    pen.font = SMALL;
    pen.fillStyle = theme.muted;
    const wide = pen.measureText(count).width;
    pen.fillText(count, size.gutter - 10 - wide, middle);
    pen.font =
      row.track.kind === "thread" ||
      row.track.kind === "nvtx" ||
      row.track.kind === "stream" ||
      row.track.kind === "loader"
        ? NAME
        : LABEL;
    pen.fillStyle = theme.text;
    pen.fillText(own.fitted(t, track.title, size.gutter - 40 - wide), 22, middle);
  }

  function triangle(t, x, y, shut) {
    const { pen } = t;
    pen.fillStyle = t.theme.muted;
    pen.beginPath();
    if (shut) {
      pen.moveTo(x, y - 4);
      pen.lineTo(x + 5, y);
      pen.lineTo(x, y + 4);
    } else {
      pen.moveTo(x - 1, y - 2.5);
      pen.lineTo(x + 7, y - 2.5);
      pen.lineTo(x + 3, y + 2.5);
    }
    pen.fill();
  }

  // The whole span as a strip of the budget, with the window on it.
  own.drawStrip = (t) => {
    const { stripPen: pen, size, theme, stripHeight: height } = t;
    const key = [t.strip, t.density, theme, size];
    if (!t.ground || !key.every((one, at) => one === t.ground.key[at]))
      t.ground = { key, image: ground(t, height) };
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(t.ground.image, 0, 0);
    pen.setTransform(size.dpr, 0, 0, size.dpr, 0, 0);
    const left = own.stripX(t, t.view.from);
    const right = Math.max(own.stripX(t, t.view.to), left + 3);
    pen.fillStyle = pen.strokeStyle = theme.accent;
    pen.globalAlpha = 0.08;
    pen.fillRect(left, 1, right - left, height - 2);
    pen.globalAlpha = 1;
    pen.lineWidth = 1.5;
    pen.strokeRect(left + 0.75, 1.25, Math.max(right - left - 1.5, 1.5), height - 2.5);
  };

  // All of the strip but the window, drawn once.
  function ground(t, height) {
    const { size, theme } = t;
    const span = t.meta.span[1] - t.meta.span[0];
    const image = document.createElement("canvas");
    image.width = t.stripCanvas.width;
    image.height = t.stripCanvas.height;
    const pen = image.getContext("2d", { alpha: false });
    pen.setTransform(size.dpr, 0, 0, size.dpr, 0, 0);
    pen.fillStyle = theme.surface;
    pen.fillRect(0, 0, size.width, height);
    pen.font = SMALL;
    pen.textBaseline = "middle";
    pen.fillStyle = theme.muted;
    pen.fillText("whole run", 14, height / 2 - 7);
    pen.fillText(own.time(span), 14, height / 2 + 8);
    const low = height - 5;
    const high = height - 10;
    if (t.strip) stacked(t, pen, low, high);
    if (t.density) density(t, pen, low);
    for (const mark of t.meta.marks) {
      pen.fillStyle = theme.css[t.meta.colours.indexOf(mark.colour)] || theme.accent;
      const at = own.stripX(t, mark.from);
      pen.fillRect(at, 0, Math.max(own.stripX(t, mark.to) - at, 2), 3);
    }
    return image;
  }

  own.stripX = (t, ns) =>
    t.size.gutter +
    ((ns - t.meta.span[0]) / (t.meta.span[1] - t.meta.span[0])) * (t.size.plot - FAR);
  own.stripNs = (t, x) =>
    t.meta.span[0] +
    ((x - t.size.gutter) / (t.size.plot - FAR)) * (t.meta.span[1] - t.meta.span[0]);

  function stacked(t, pen, low, high) {
    const { theme, size } = t;
    const kinds = Object.keys(t.strip);
    const columns = kinds.length ? t.strip[kinds[0]].length : 0;
    const wide = (size.plot - FAR) / Math.max(columns, 1);
    const up = new Float32Array(columns);
    for (const kind of kinds) {
      pen.fillStyle = theme.css[t.meta.colours.indexOf(kind)];
      const shares = t.strip[kind];
      for (let at = 0; at < columns; at++) {
        if (shares[at] <= 0) continue;
        const tall = shares[at] * high;
        pen.fillRect(size.gutter + at * wide, low - up[at] - tall, Math.max(wide, 1), tall);
        up[at] += tall;
      }
    }
  }

  function density(t, pen, low) {
    const { theme, size } = t;
    const most = Math.max(...t.density, 1);
    const wide = (size.plot - FAR) / t.density.length;
    pen.fillStyle = theme.text;
    t.density.forEach((count, at) => {
      if (count)
        pen.fillRect(size.gutter + at * wide, low, Math.max(wide, 1.5), 2 + (3 * count) / most);
    });
  }
})();
