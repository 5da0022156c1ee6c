"use strict";
// Tiles are requested from the source, and painted to pictures: the exact picture of the last
// answer, and an overview of the whole run, which is shown where the exact picture does not reach.
(() => {
  const shared = window.perfscopeTimeline;
  const MOST_PIXELS = 8192;
  const KEPT_STATS = 400;
  const MOST_LANES = 1000; // the server refuses more than 1024

  // Sends at most one request at a time; after its answer, the newest view is requested.
  shared.requestTile = async (timeline) => {
    timeline.requestedTurn++;
    if (timeline.requesting) return;
    timeline.requesting = true;
    try {
      while (timeline.answeredTurn !== timeline.requestedTurn) {
        await requestNewest(timeline);
      }
    } catch (error) {
      timeline.showText(`No answer from the timeline server: ${error.message}`);
    } finally {
      timeline.requesting = false;
      timeline.changedAt = 0;
      for (const resolve of timeline.waiters.splice(0)) resolve(timeline);
    }
  };

  async function requestNewest(timeline) {
    const turn = timeline.requestedTurn;
    const request = tileRequest(timeline);
    const started = performance.now();
    const tile = await loadTile(timeline.source, request);
    timeline.answeredTurn = turn;
    const received = performance.now();
    if (request.layout === timeline.layout) {
      showPicture(timeline, tile, request);
      const isNewest = turn === timeline.requestedTurn;
      if (isNewest && fitRows(timeline, tile)) showFittedRows(timeline);
    }
    timeline.stats.push({
      wait: received - started,
      paint: performance.now() - received,
      bytes: tile.bytes || 0,
      server: tile.server || 0,
      hand: received - (timeline.changedAt || received),
    });
    if (timeline.stats.length > KEPT_STATS) timeline.stats.shift();
  }

  function tileRequest(timeline) {
    const { layout, size, view } = timeline;
    const from = Math.floor(view.from);
    const to = Math.max(Math.ceil(view.to), from + 1);
    const room = size.height - size.ruler;
    const rows = shared.visibleRows(layout, view.scroll, view.scroll + room);
    const lanes = lanesOfRows(timeline, rows);
    const pixels = Math.min(Math.round(size.plot * size.dpr), MOST_PIXELS);
    return { from, to, rows, lanes, layout, scroll: view.scroll, pixels };
  }

  // The lanes of the tracks that the rows belong to, also those without a row now.
  function lanesOfRows({ collapsedTracks }, rows) {
    const tracks = [...new Set(rows.map((row) => row.track))];
    const lanes = tracks.flatMap((track) =>
      collapsedTracks.has(track.number) ? [track.first] : shared.lanesOfTrack(track),
    );
    const asked = lanes.length <= MOST_LANES ? lanes : rows.map((row) => row.lane);
    return [...new Set(asked)].sort((a, b) => a - b);
  }

  // Leaves out the rows of a track below the deepest event in view. Returns whether any changed.
  function fitRows(timeline, tile) {
    const { collapsedTracks, shownRows } = timeline;
    let isChanged = false;
    for (const track of timeline.tracks) {
      if (track.rows < 2 || collapsedTracks.has(track.number)) continue;
      const lanes = shared.lanesOfTrack(track).map((lane) => tile.lanes.get(lane));
      if (lanes.includes(undefined)) continue;
      const deepest = lanes.reduce((most, lane, row) => (hasEvents(lane) ? row + 1 : most), 1);
      if (deepest === (shownRows.get(track.number) || track.rows)) continue;
      shownRows.set(track.number, deepest);
      isChanged = true;
    }
    return isChanged;
  }

  function hasEvents(lane) {
    if (!lane) return false;
    return lane.x ? lane.x.length > 0 : lane.busy.some(Boolean);
  }

  // Puts the rows into their new places, and paints what is known of them there until the next
  // answer arrives.
  function showFittedRows(timeline) {
    const { overview, picture, selection } = timeline;
    timeline.relayout();
    const { layout, size, view } = timeline;
    const rows = shared.visibleRows(layout, view.scroll, view.scroll + size.height - size.ruler);
    for (const shown of new Set([overview, picture])) {
      if (shown) Object.assign(shown, { layout, rows, scroll: view.scroll });
    }
    timeline.overview = overview;
    if (selection && selection.tracks) {
      const tracks = timeline.tracks.filter(({ number }) => selection.tracks.includes(number));
      Object.assign(selection, shared.lanesOfTracks(timeline, tracks));
    }
    shared.repaint(timeline);
  }

  async function loadTile(source, { from, to, pixels, lanes }) {
    if (!lanes.length) return { from, to, pixels, lanes: new Map() };
    return source.tile(from, to, pixels, lanes);
  }

  function showPicture(timeline, tile, request) {
    const { from, to } = tile;
    timeline.picture = { ...request, tile, from, to, painter: freePainter(timeline) };
    const [begin, end] = timeline.meta.span;
    if (to - from >= (end - begin) * 0.999) timeline.overview = timeline.picture;
    paintPicture(timeline, timeline.picture);
    timeline.element.dataset.ready = "yes";
    timeline.resolveFirstPicture();
    if (timeline.frame) cancelAnimationFrame(timeline.frame);
    timeline.frame = 0;
    shared.drawAll(timeline);
  }

  function freePainter({ painters, picture, overview }) {
    const used = [picture, overview].map((shown) => shown && shown.painter);
    return painters.find((painter) => !used.includes(painter));
  }

  function paintPicture(timeline, picture) {
    const { size, theme, shades, waiting } = timeline;
    const hits = shared.shownNames(timeline);
    const rows = picture.rows.map((row) => ({
      lane: row.lane,
      y: Math.round((row.y - picture.scroll) * size.dpr),
      h: Math.round(row.h * size.dpr),
    }));
    const height = Math.max(Math.round((size.height - size.ruler) * size.dpr), 1);
    picture.painter.paint(picture.tile, rows, height, { theme, shades, waiting, hits });
  }

  // Per name, whether it is drawn at full strength: what the search found, without the categories
  // that the legend turns off. Null for all.
  shared.shownNames = ({ colors, hiddenColors, hits }) => {
    if (!hiddenColors.size) return hits;
    return colors.map((color, code) => (hiddenColors.has(color) ? 0 : hits ? hits[code] : 1));
  };

  shared.repaint = (timeline) => {
    for (const picture of new Set([timeline.overview, timeline.picture])) {
      if (picture) paintPicture(timeline, picture);
    }
    if (timeline.layout) timeline.requestFrame();
  };

  shared.drawAll = (timeline) => {
    shared.drawFrame(timeline);
    shared.drawStrip(timeline);
    drawScrollbar(timeline);
  };

  function drawScrollbar({ layout, scrollbar, size, view }) {
    const room = size.height - size.ruler;
    const share = room / layout.height;
    scrollbar.hidden = share >= 1;
    scrollbar.style.top = `${size.ruler + view.scroll * share}px`;
    scrollbar.style.height = `${Math.max(room * share, 24)}px`;
  }
})();
