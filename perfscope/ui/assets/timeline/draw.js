"use strict";
// Draws a frame: the last exact picture, scaled to the view, and over it the names, the ruler, the
// marks of findings, the selection, and the arrows between events.
(() => {
  const shared = window.perfscopeTimeline;
  const FONT = "Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  const LABEL = `11px ${FONT}`;
  const NAME = `600 12px ${FONT}`;
  const TICK_ROOM = 110;
  const NAMED_KINDS = new Set(["thread", "nvtx", "stream", "loader"]);
  const LEAST_LABEL = 26;
  shared.PIN_WIDTH = 20; // at the right end of the names of the tracks
  const DENSE = 250; // of 255: how busy the pixels of one bar are

  shared.xOf = ({ size, view }, ns) =>
    size.gutter + ((ns - view.from) / (view.to - view.from)) * size.plot;

  shared.timeAt = ({ size, view }, x) =>
    view.from + ((x - size.gutter) / size.plot) * (view.to - view.from);

  shared.drawFrame = (timeline) => {
    const { pen, size } = timeline;
    pen.setTransform(size.dpr, 0, 0, size.dpr, 0, 0);
    drawInPlot(timeline, () => {
      drawPictures(timeline);
      drawGrid(timeline);
      drawLabels(timeline);
      drawBands(timeline);
      drawArrows(timeline);
    });
    drawRuler(timeline);
    drawGutterOnce(timeline);
  };

  function drawInPlot(timeline, draw) {
    const { pen, size } = timeline;
    pen.save();
    pen.beginPath();
    pen.rect(size.gutter, size.ruler, size.plot, size.height - size.ruler);
    pen.clip();
    draw();
    pen.restore();
  }

  function drawPictures(timeline) {
    const { pen, size, layout, picture, overview } = timeline;
    const isCovered = coversView(timeline, picture);
    pen.imageSmoothingEnabled = false;
    if (!isCovered) {
      pen.fillStyle = timeline.theme.bg;
      pen.fillRect(size.gutter, size.ruler, size.plot, size.height - size.ruler);
    }
    for (const drawn of isCovered ? [picture] : [overview, picture]) {
      if (drawn && drawn.layout === layout) drawPicture(timeline, drawn);
    }
  }

  function coversView({ layout, view }, picture) {
    return (
      picture &&
      picture.layout === layout &&
      picture.scroll === view.scroll &&
      picture.from <= view.from &&
      picture.to >= view.to
    );
  }

  // Draws the part of a picture that is in view, at its place and scale.
  function drawPicture(timeline, picture) {
    const { pen, size, view } = timeline;
    const span = picture.to - picture.from;
    const image = picture.painter.canvas;
    const from = Math.max(view.from, picture.from);
    const to = Math.min(view.to, picture.to);
    if (to <= from) return;
    const sourceLeft = ((from - picture.from) / span) * image.width;
    const sourceWidth = ((to - from) / span) * image.width;
    const left = shared.xOf(timeline, from);
    const width = shared.xOf(timeline, to) - left;
    const top = size.ruler + picture.scroll - view.scroll;
    const height = image.height / size.dpr;
    const source = [sourceLeft, 0, Math.max(sourceWidth, 1e-3), image.height];
    pen.drawImage(image, ...source, left, top, width, height);
  }

  function ticksInView({ size, view, zero }) {
    return shared.ticks(view.from - zero, view.to - zero, size.plot, TICK_ROOM);
  }

  function drawGrid(timeline) {
    const { pen, size, theme } = timeline;
    const { ticks } = ticksInView(timeline);
    pen.globalAlpha = 0.55;
    pen.fillStyle = theme.line;
    for (const tick of ticks) {
      const x = Math.round(shared.xOf(timeline, tick + timeline.zero));
      pen.fillRect(x, size.ruler, 1, size.height);
    }
    pen.globalAlpha = 1;
  }

  // The start of a text that fits into `room` pixels of the current font.
  shared.fittedText = (timeline, text, room) => {
    if (!text || room < LEAST_LABEL) return "";
    const width = textWidth(timeline, text);
    if (width <= room) return text;
    const kept = Math.floor((text.length * (room - 8)) / width);
    return kept < 3 ? "" : `${text.slice(0, kept)}…`;
  };

  function textWidth({ pen, widths }, text) {
    let width = widths.get(text);
    if (width === undefined) {
      if (widths.size > 5000) widths.clear();
      width = pen.measureText(text).width;
      widths.set(text, width);
    }
    return width;
  }

  function drawLabels(timeline) {
    const { pen, layout, picture, size, view } = timeline;
    if (!picture || picture.layout !== layout) return;
    pen.font = LABEL;
    pen.textBaseline = "middle";
    const room = size.height - size.ruler;
    for (const row of shared.visibleRows(layout, view.scroll, view.scroll + room)) {
      const lane = picture.tile.lanes.get(row.lane);
      if (lane) drawLabelsOfRow(timeline, row, lane);
    }
  }

  function drawLabelsOfRow(timeline, row, lane) {
    const { pen, picture, size, view } = timeline;
    const zoom = (picture.to - picture.from) / (view.to - view.from);
    const scale = (zoom * size.plot) / picture.tile.pixels;
    const offset = shared.xOf(timeline, picture.from);
    const middle = size.ruler + row.y - view.scroll + row.h / 2 + 0.5;
    const { x, w, code } = barsOf(lane);
    for (let i = 0; i < x.length; i++) {
      if (w[i] < LEAST_LABEL / scale) continue;
      const left = Math.max(offset + x[i] * scale, size.gutter);
      const right = Math.min(offset + (x[i] + w[i]) * scale, size.width);
      const name = timeline.names.label(code[i]);
      const text = shared.fittedText(timeline, name, right - left - 8);
      if (!text) continue;
      pen.fillStyle = labelColor(timeline, code[i]);
      pen.fillText(text, left + 4, middle);
    }
  }

  function labelColor({ hits, theme, colors }, code) {
    const isMiss = hits && !hits[code];
    return isMiss ? theme.muted : theme.inks[colors[code]];
  }

  function barsOf(lane) {
    if (lane.x) return lane;
    lane.long = lane.long || longRuns(lane);
    return lane.long;
  }

  // The runs of pixels with the same name and without a gap.
  function longRuns({ busy, code }) {
    const runs = { x: [], w: [], code: [] };
    let start = 0;
    while (start < busy.length) {
      let end = start + 1;
      while (end < busy.length && code[end] === code[start] && busy[end] > DENSE) end++;
      if (end - start >= LEAST_LABEL && busy[start] > 0) {
        runs.x.push(start);
        runs.w.push(end - start);
        runs.code.push(code[start]);
      }
      start = end;
    }
    return runs;
  }

  // The evidence of findings as bars under the ruler, the linked interval and the selection as
  // bands.
  function drawBands(timeline) {
    const { pen, meta, selection, shown, size } = timeline;
    for (const mark of meta.marks) {
      const left = shared.xOf(timeline, mark.from);
      const right = Math.max(shared.xOf(timeline, mark.to), left + 3);
      if (right < size.gutter || left > size.width) continue;
      pen.fillStyle = shared.markColor(timeline, mark);
      pen.fillRect(left, size.ruler, right - left, 4);
    }
    if (shown) drawBand(timeline, shown, 0.1, "");
    if (selection) {
      const duration = shared.formatTime(Math.abs(selection.to - selection.from));
      drawBand(timeline, selection, 0.16, duration);
    }
  }

  shared.markColor = ({ meta, theme }, mark) =>
    theme.css[meta.colors.indexOf(mark.color)] || theme.accent;

  function drawBand(timeline, interval, strength, label) {
    const { pen, size, theme, view } = timeline;
    const left = shared.xOf(timeline, Math.min(interval.from, interval.to));
    const end = shared.xOf(timeline, Math.max(interval.from, interval.to));
    const right = Math.max(end, left + 1);
    let top = size.ruler;
    let bottom = size.height;
    if (interval.top !== undefined) {
      top = Math.max(size.ruler + interval.top - view.scroll, size.ruler);
      bottom = size.ruler + interval.bottom - view.scroll;
    }
    pen.fillStyle = theme.accent;
    pen.globalAlpha = strength;
    pen.fillRect(left, top, right - left, bottom - top);
    pen.globalAlpha = 1;
    pen.fillRect(left - 1, top, 1.5, bottom - top);
    pen.fillRect(right - 0.5, top, 1.5, bottom - top);
    if (label && right - left > 54) {
      const baseline = Math.min(bottom, size.height) - 10;
      drawBandLabel(timeline, label, (left + right) / 2, baseline);
    }
  }

  function drawBandLabel(timeline, label, center, baseline) {
    const { pen, size, theme } = timeline;
    pen.font = NAME;
    pen.textBaseline = "alphabetic";
    const width = pen.measureText(label).width;
    const room = width / 2 + 6;
    const middle = shared.clamp(center, size.gutter + room, size.width - room);
    pen.fillStyle = theme.bg;
    pen.fillRect(middle - room, baseline - 14, width + 12, 20);
    pen.fillStyle = theme.accent;
    pen.fillText(label, middle - width / 2, baseline);
  }

  // The row of a lane; the first row of its track, if that is collapsed.
  shared.rowOfLane = ({ layout, tracks }, lane) => {
    const row = layout.rows.find((candidate) => candidate.lane === lane);
    if (row) return row;
    const track = shared.trackOfLane(tracks, lane);
    return track && layout.rows.find((candidate) => candidate.track === track);
  };

  function drawOutline(timeline, place) {
    const { pen, size, theme, view } = timeline;
    const row = shared.rowOfLane(timeline, place.lane);
    if (!row) return false;
    const left = shared.xOf(timeline, place.ts_ns);
    const right = Math.max(shared.xOf(timeline, place.ts_ns + place.dur_ns), left + 2);
    const top = size.ruler + row.y - view.scroll;
    pen.lineWidth = 2;
    pen.strokeStyle = theme.text;
    pen.strokeRect(left + 0.5, top + 0.5, right - left - 1, row.h - 1);
    return true;
  }

  // From the operator to its launch to the kernels that this started.
  function drawArrows(timeline) {
    const { chosen } = timeline;
    if (!chosen || !drawOutline(timeline, chosen)) return;
    const chain = [...chosen.causes, chosen];
    for (let i = 0; i + 1 < chain.length; i++) drawArrow(timeline, chain[i], chain[i + 1]);
    const launches = chosen.effects.filter((effect) => effect.role === "launch");
    for (const launch of launches) drawArrow(timeline, chosen, launch);
    for (const effect of chosen.effects) {
      if (effect.role === "launch") continue;
      const earlier = launches.filter((launch) => launch.ts_ns <= effect.ts_ns);
      drawArrow(timeline, earlier.pop() || chosen, effect);
    }
    drawOutline(timeline, chosen);
  }

  function drawArrow(timeline, from, to) {
    const { pen, size, view, theme } = timeline;
    const fromRow = shared.rowOfLane(timeline, from.lane);
    const toRow = shared.rowOfLane(timeline, to.lane);
    if (!fromRow || !toRow) return;
    const delay = Math.max(to.ts_ns - from.ts_ns, 0);
    const startX = shared.xOf(timeline, from.ts_ns + Math.min(from.dur_ns, delay));
    const endX = shared.xOf(timeline, to.ts_ns);
    if (Math.max(startX, endX) < size.gutter - 2000) return;
    if (Math.min(startX, endX) > size.width + 2000) return;
    const isDownward = toRow.y > fromRow.y;
    const origin = size.ruler - view.scroll;
    const startY = origin + fromRow.y + (isDownward ? fromRow.h : 0);
    const endY = origin + toRow.y + (isDownward ? 0 : toRow.h);
    const direction = isDownward ? 1 : -1;
    const bend = shared.clamp(Math.abs(endY - startY) * 0.5, 8, 60) * direction;
    pen.strokeStyle = pen.fillStyle = theme.text;
    pen.globalAlpha = 0.75;
    pen.lineWidth = 1.2;
    pen.beginPath();
    pen.moveTo(startX, startY);
    pen.bezierCurveTo(startX, startY + bend, endX, endY - bend, endX, endY);
    pen.stroke();
    pen.beginPath();
    pen.moveTo(endX, endY);
    pen.lineTo(endX - 3.5, endY - 6 * direction);
    pen.lineTo(endX + 3.5, endY - 6 * direction);
    pen.fill();
    pen.globalAlpha = 1;
  }

  function drawRuler(timeline) {
    const { pen, size, theme, view } = timeline;
    pen.fillStyle = theme.surface;
    pen.fillRect(0, 0, size.width, size.ruler);
    pen.fillStyle = theme.line;
    pen.fillRect(0, size.ruler - 1, size.width, 1);
    pen.font = LABEL;
    pen.textBaseline = "middle";
    const { step, ticks } = ticksInView(timeline);
    for (const tick of ticks) {
      const x = Math.round(shared.xOf(timeline, tick + timeline.zero));
      if (x < size.gutter - 1) continue;
      pen.fillStyle = theme.line;
      pen.fillRect(x, 0, 1, size.ruler);
      pen.fillStyle = theme.muted;
      pen.fillText(shared.tickLabel(tick, step), x + 5, size.ruler / 2);
    }
    pen.fillStyle = theme.surface;
    pen.fillRect(0, 0, size.gutter, size.ruler - 1);
    pen.fillStyle = theme.muted;
    pen.fillText(`${shared.formatTime(view.to - view.from)} in view`, 14, size.ruler / 2);
  }

  // Draws the names of the tracks, if they differ from those that are on the canvas.
  function drawGutterOnce(timeline) {
    const { size } = timeline;
    const state = [timeline.layout, timeline.theme, timeline.view.scroll, size.width, size.height];
    const drawn = timeline.drawnGutter;
    if (drawn && state.every((value, index) => value === drawn[index])) return;
    drawGutter(timeline);
    timeline.drawnGutter = state;
  }

  function drawGutter(timeline) {
    const { pen, layout, size, theme, view } = timeline;
    const height = size.height - size.ruler;
    pen.fillStyle = theme.bg;
    pen.fillRect(0, size.ruler, size.gutter, height);
    pen.save();
    pen.beginPath();
    pen.rect(0, size.ruler, size.width, height);
    pen.clip();
    pen.textBaseline = "middle";
    for (const head of layout.heads) drawGroupHead(timeline, head);
    const rows = shared.visibleRows(layout, view.scroll - 20, view.scroll + height);
    rows.forEach((row, index) => {
      if (row.top) drawTrackName(timeline, row);
      else if (index === 0) drawTrackName(timeline, { ...row, y: Math.max(view.scroll, row.y) });
    });
    pen.restore();
    pen.fillStyle = theme.line;
    pen.fillRect(size.gutter - 1, size.ruler, 1, height);
  }

  function drawGroupHead(timeline, head) {
    const { pen, size, theme, view } = timeline;
    const y = size.ruler + head.y - view.scroll;
    if (y < size.ruler - head.h || y > size.height) return;
    pen.fillStyle = theme.surface;
    pen.fillRect(0, y, size.width, head.h);
    pen.fillStyle = theme.line;
    pen.fillRect(0, y, size.width, 1);
    pen.font = NAME;
    const middle = y + head.h / 2;
    drawTriangle(timeline, 9, middle, timeline.collapsedGroups.has(head.group));
    const [title] = timeline.meta.groups[head.group];
    pen.fillText(shared.fittedText(timeline, title, size.gutter - 32), 22, middle + 0.5);
  }

  function drawTrackName(timeline, row) {
    const { pen, size, theme, view } = timeline;
    const { track } = row;
    const y = size.ruler + row.y - view.scroll;
    const middle = y + Math.min(Math.max(row.h, 14), 20) / 2 + 0.5;
    if (track.rows > 1) {
      drawTriangle(timeline, 9, middle, timeline.collapsedTracks.has(track.number));
    }
    pen.font = LABEL;
    pen.fillStyle = theme.muted;
    drawPin(timeline, size.gutter - shared.PIN_WIDTH / 2, middle, track);
    const count = shared.formatCount(track.events);
    const countWidth = pen.measureText(count).width + shared.PIN_WIDTH - 8;
    pen.fillText(count, size.gutter - 10 - countWidth, middle);
    pen.font = NAMED_KINDS.has(track.kind) ? NAME : LABEL;
    pen.fillStyle = theme.text;
    const room = size.gutter - 40 - countWidth;
    pen.fillText(shared.fittedText(timeline, track.title, room), 22, middle);
  }

  // A pin at the end of a track's name: filled where the track is pinned.
  function drawPin({ pen, pinnedTracks, theme }, x, y, track) {
    const isPinned = pinnedTracks.has(track.number);
    pen.save();
    pen.fillStyle = pen.strokeStyle = isPinned ? theme.accent : theme.muted;
    pen.globalAlpha = isPinned ? 1 : 0.55;
    pen.lineWidth = 1.2;
    pen.beginPath();
    pen.arc(x, y - 2, 3, 0, 2 * Math.PI);
    if (isPinned) pen.fill();
    else pen.stroke();
    pen.beginPath();
    pen.moveTo(x, y + 1);
    pen.lineTo(x, y + 6);
    pen.stroke();
    pen.restore();
  }

  function drawTriangle({ pen, theme }, x, y, isCollapsed) {
    pen.fillStyle = theme.muted;
    pen.beginPath();
    if (isCollapsed) {
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
})();
