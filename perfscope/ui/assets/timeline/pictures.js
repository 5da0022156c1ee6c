"use strict";
// Tiles are requested from the source, and painted to pictures: the exact picture of the last
// answer, and an overview of the whole run, which is shown where the exact picture does not reach.
(() => {
  const shared = window.perfscopeTimeline;
  const MOST_PIXELS = 8192;
  const KEPT_STATS = 400;

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
    if (request.layout === timeline.layout) showPicture(timeline, tile, request);
    timeline.stats.push({
      wait: received - started,
      paint: performance.now() - received,
      bytes: tile.bytes || 0,
      server: tile.server || 0,
      hand: received - (timeline.changedAt || received),
    });
    if (timeline.stats.length > KEPT_STATS) timeline.stats.shift();
  }

  function tileRequest({ layout, size, view }) {
    const from = Math.floor(view.from);
    const to = Math.max(Math.ceil(view.to), from + 1);
    const room = size.height - size.ruler;
    const rows = shared.visibleRows(layout, view.scroll, view.scroll + room);
    const lanes = [...new Set(rows.map((row) => row.lane))].sort((a, b) => a - b);
    const pixels = Math.min(Math.round(size.plot * size.dpr), MOST_PIXELS);
    return { from, to, rows, lanes, layout, scroll: view.scroll, pixels };
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
    const { size, theme, shades, waiting, hits } = timeline;
    const rows = picture.rows.map((row) => ({
      lane: row.lane,
      y: Math.round((row.y - picture.scroll) * size.dpr),
      h: Math.round(row.h * size.dpr),
    }));
    const height = Math.max(Math.round((size.height - size.ruler) * size.dpr), 1);
    picture.painter.paint(picture.tile, rows, height, { theme, shades, waiting, hits });
  }

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
