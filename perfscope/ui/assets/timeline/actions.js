"use strict";
// The methods of a timeline: what the page, the keys and the buttons can make it do.
(() => {
  const shared = window.perfscopeTimeline;
  const RULER_HEIGHT = 24;
  const STRIP_HEIGHT = 56;
  const GUTTER_WIDTH = 196;
  const NARROW_GUTTER_WIDTH = 132;
  const WIDE_GUTTER_WIDTH = 270;
  const MOST_ROW_SCALE = 1.6;
  const PRINT_DPR = 2;
  const DEFAULT_HEIGHT = 560;
  const LEAST_SPAN_NS = 20;
  const OVERSHOOT = 0.02; // of the run, before its begin and after its end
  const MARGIN = 0.6; // on each side of an interval that is shown, in lengths of it

  shared.addActions = (timeline, refresh) => {
    Object.assign(timeline, {
      showsWholeRun() {
        const [begin, end] = timeline.meta.span;
        return timeline.view.to - timeline.view.from >= (end - begin) * 0.9999;
      },
      setView: (from, to) => setView(timeline, from, to),
      scrollTo: (y) => scrollTo(timeline, y),
      viewChanged() {
        timeline.changedAt = timeline.changedAt || performance.now();
        timeline.requestFrame();
        shared.requestTile(timeline);
        timeline.updateAddress();
      },
      requestFrame() {
        if (timeline.frame) return;
        timeline.frame = requestAnimationFrame(() => {
          timeline.frame = 0;
          shared.drawAll(timeline);
        });
      },
      recolor: () => recolor(timeline),
      relayout: () => relayout(timeline),
      resize: () => resize(timeline),
      show(from, to, lane) {
        timeline.shown = { from, to };
        const margin = Math.max((to - from) * MARGIN, 1000);
        shared.glide(timeline, from - margin, to + margin);
        if (lane !== undefined) timeline.reveal(lane);
      },
      reveal: (lane) => reveal(timeline, lane),
      goTo: (place) => goTo(timeline, place),
      fit: () => fit(timeline),
      goToFinding: (direction) => goToFinding(timeline, direction),
      goToStep: (direction) => goToStep(timeline, direction),
      clear() {
        timeline.selection = timeline.chosen = timeline.shown = null;
        timeline.panelTurn++;
        shared.showLegend(timeline);
        shared.hideWhy(timeline);
        timeline.requestFrame();
        timeline.updateAddress();
      },
      updateAddress: () => shared.updateAddress(timeline),
      selectView() {
        const { from, to } = timeline.view;
        timeline.selection = { from, to, ...shared.allLanes(timeline) };
        timeline.chosen = null;
        timeline.requestFrame();
        shared.showSelection(timeline);
      },
      async refresh() {
        try {
          await refresh(timeline);
        } catch (error) {
          timeline.showText(`Could not load the timeline: ${error.message}`);
        }
      },
      showText: (text) => shared.showText(timeline, text),
      settled() {
        if (!timeline.requesting) return Promise.resolve(timeline);
        return new Promise((resolve) => timeline.waiters.push(resolve));
      },
      search: (words) => search(timeline, words),
      goToHit: (backwards) => goToHit(timeline, backwards),
      unmount() {
        timeline.sizeObserver.disconnect();
        timeline.themeObserver.disconnect();
        document.removeEventListener("keydown", timeline.onKey);
        document.removeEventListener("timeline:show", timeline.onShow);
        removeEventListener("hashchange", timeline.onHash);
      },
    });
  };

  // Shows an interval that a page links to, with a margin around it.
  shared.showPlace = (timeline, { from, to }) => {
    timeline.shown = { from, to };
    const margin = (to - from) * MARGIN;
    timeline.setView(from - margin, to + margin);
  };

  // Moves the view, within its bounds.
  function setView(timeline, from, to) {
    const { view } = timeline;
    const [begin, end] = timeline.meta.span;
    let span = shared.clamp(to - from, LEAST_SPAN_NS, end - begin);
    if (to - from >= end - begin) {
      from = begin;
      span = end - begin;
    } else if (to - from < LEAST_SPAN_NS) {
      from = (from + to) / 2 - LEAST_SPAN_NS / 2;
    }
    const isPart = span < end - begin;
    const overshoot = isPart ? Math.min((end - begin) * OVERSHOOT, span / 2) : 0;
    from = shared.clamp(from, begin - overshoot, end - span + overshoot);
    if (from === view.from && from + span === view.to) return;
    view.from = from;
    view.to = from + span;
    timeline.viewChanged();
  }

  function scrollTo(timeline, y) {
    const { layout, size, view } = timeline;
    const most = Math.max(layout.height - size.height + size.ruler, 0);
    const scroll = shared.clamp(y, 0, most);
    if (scroll === view.scroll) return;
    view.scroll = scroll;
    timeline.viewChanged();
  }

  function recolor(timeline) {
    const { element, meta, options } = timeline;
    const isNeutral = meta.colors.map((color) => color.startsWith("step_"));
    timeline.theme = shared.readTheme(element, meta, timeline.printing ? options.paper : null);
    timeline.shades = shared.nameShades(timeline.theme, timeline.colors, isNeutral);
    shared.repaint(timeline);
  }

  function relayout(timeline) {
    timeline.rowScale = 1;
    timeline.layout = shared.layout(timeline);
    stretchRows(timeline);
    timeline.overview = timeline.drawnGutter = null;
    setCanvasSizes(timeline);
    timeline.scrollTo(timeline.view.scroll);
    timeline.viewChanged();
  }

  // Where a timeline that fills the page has few rows, they are higher.
  function stretchRows(timeline) {
    if (timeline.options.height !== "fill") return;
    shared.fitPanel(timeline);
    const room = mostHeight(timeline) - RULER_HEIGHT - 2;
    timeline.rowScale = shared.clamp(room / timeline.layout.height, 1, MOST_ROW_SCALE);
    timeline.layout = shared.layout(timeline);
  }

  function resize(timeline) {
    const width = timeline.element.clientWidth;
    if (width < 50) return;
    const isSameWidth = timeline.size && timeline.size.width === width;
    if (isSameWidth && timeline.options.height !== "fill") return;
    const gutter = gutterWidth(width);
    timeline.size = {
      width,
      gutter,
      plot: width - gutter,
      ruler: RULER_HEIGHT,
      height: 0,
      dpr: timeline.printing ? PRINT_DPR : Math.min(devicePixelRatio || 1, 2),
    };
    timeline.relayout();
  }

  function gutterWidth(width) {
    if (width < 760) return NARROW_GUTTER_WIDTH;
    return width < 1700 ? GUTTER_WIDTH : WIDE_GUTTER_WIDTH;
  }

  function setCanvasSizes(timeline) {
    const { size } = timeline;
    shared.fitPanel(timeline);
    const wanted = timeline.layout.height + RULER_HEIGHT + 2;
    size.height = Math.round(shared.clamp(wanted, 120, mostHeight(timeline)));
    timeline.stripHeight = STRIP_HEIGHT;
    setCanvasSize(timeline.canvas, size, size.height);
    setCanvasSize(timeline.stripCanvas, size, STRIP_HEIGHT);
    timeline.drawnGutter = timeline.stripBackground = null;
  }

  function mostHeight({ options, element, canvas, edge, panel }) {
    if (options.height !== "fill") return options.height || DEFAULT_HEIGHT;
    const below = edge.offsetHeight + panel.offsetHeight;
    return Math.max(element.clientHeight - canvas.parentElement.offsetTop - below, 120);
  }

  function setCanvasSize(canvas, size, height) {
    canvas.width = Math.round(size.width * size.dpr);
    canvas.height = Math.round(height * size.dpr);
    canvas.style.height = `${height}px`;
  }

  // Expands the track of a lane and scrolls to it.
  function reveal(timeline, lane) {
    const { collapsedGroups, collapsedTracks, size, view } = timeline;
    const track = shared.trackOfLane(timeline.tracks, lane);
    if (!track) return;
    const isPinned = timeline.pinnedTracks.has(track.number);
    const groupExpanded = !isPinned && collapsedGroups.delete(track.group);
    const trackExpanded = lane > track.first && collapsedTracks.delete(track.number);
    if (groupExpanded || trackExpanded) timeline.relayout();
    const row = shared.rowOfLane(timeline, lane);
    const room = size.height - size.ruler;
    if (row && (row.y < view.scroll || row.y + row.h > view.scroll + room)) {
      timeline.scrollTo(row.y - room / 2);
    }
  }

  async function goTo(timeline, place) {
    timeline.reveal(place.lane);
    const duration = place.dur_ns;
    const viewSpan = timeline.view.to - timeline.view.from;
    const span = Math.max(duration * 6, Math.min(viewSpan, duration * 200));
    const middle = place.ts_ns + duration / 2;
    shared.glide(timeline, middle - span / 2, middle + span / 2);
    timeline.chosen = await timeline.source.event(place.lane, Math.round(middle));
    if (timeline.chosen) shared.showEvent(timeline, timeline.chosen);
    timeline.requestFrame();
  }

  // Fits the selection into the view, else the chosen event, else the linked interval, else all.
  function fit(timeline) {
    const interval = intervalToFit(timeline);
    if (!interval) {
      shared.glide(timeline, ...timeline.meta.span);
      return;
    }
    const margin = (interval.to - interval.from) * 0.15;
    shared.glide(timeline, interval.from - margin, interval.to + margin);
  }

  function intervalToFit({ selection, chosen, shown }) {
    if (selection) {
      const { from, to } = selection;
      return { from: Math.min(from, to), to: Math.max(from, to) };
    }
    if (chosen) {
      return { from: chosen.ts_ns, to: chosen.ts_ns + Math.max(chosen.dur_ns, 1) };
    }
    return shown;
  }

  function goToFinding(timeline, direction) {
    const { marks } = timeline.meta;
    if (!marks.length) return;
    const beforeFirst = direction > 0 ? -1 : 0;
    const current = timeline.markIndex === undefined ? beforeFirst : timeline.markIndex;
    timeline.markIndex = (current + direction + marks.length) % marks.length;
    const mark = marks[timeline.markIndex];
    timeline.show(mark.from, mark.to);
    shared.explainMark(timeline, timeline.markIndex);
  }

  async function goToStep(timeline, direction) {
    const { source, tracks, view } = timeline;
    const steps = tracks.find((track) => track.kind === "steps");
    if (!steps) return;
    let time = (view.from + view.to) / 2;
    const current = await source.event(steps.first, Math.round(time));
    if (current) {
      time = direction > 0 ? current.ts_ns + current.dur_ns + 1 : current.ts_ns - 1;
    }
    const next = await source.event(steps.first, Math.round(time));
    if (!next || !next.dur_ns) return;
    const margin = next.dur_ns * 0.05;
    shared.glide(timeline, next.ts_ns - margin, next.ts_ns + next.dur_ns + margin);
  }

  async function search(timeline, text) {
    const words = text.trim();
    timeline.searchWords = words;
    timeline.hitPlace = null;
    if (!words) {
      timeline.hits = timeline.density = null;
      timeline.searchResult.textContent = "";
      shared.repaint(timeline);
      return;
    }
    let found;
    try {
      found = await timeline.source.search(words);
    } catch (error) {
      timeline.searchResult.textContent = error.message;
      return;
    }
    const isOutdated = words !== timeline.searchWords;
    if (isOutdated) return;
    timeline.hits = new Uint8Array(timeline.colors.length);
    for (const code of found.codes) timeline.hits[code] = 1;
    timeline.density = found.density;
    const count = shared.formatCount(found.count);
    timeline.searchResult.textContent = found.count ? `${count} hits` : "no match";
    shared.repaint(timeline);
  }

  async function goToHit(timeline, backwards) {
    const { searchWords, hitPlace } = timeline;
    if (!searchWords) return;
    const start = hitPlace || { at: Math.floor(timeline.view.from) - 1, lane: -1 };
    const found = await timeline.source.hit(searchWords, start.at, start.lane, backwards);
    if (!found) {
      const text = timeline.hitPlace ? "no more hits" : "no hit after this point";
      timeline.searchResult.textContent = text;
      timeline.hitPlace = null;
      return;
    }
    timeline.hitPlace = { at: found.ts_ns, lane: found.lane };
    await timeline.goTo(found);
  }
})();
