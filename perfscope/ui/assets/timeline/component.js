"use strict";
// The timeline component: mount(element, source, options) builds it and loads its meta data.
//   options.height  the most CSS pixels of the lanes (default 560; "fill": the element's height)
//   options.paper   the colors for printing
//   options.only    the kinds of tracks that are shown (default: all)
//   options.first   "finding": show the first finding where the address names no interval
//   options.hash    false: do not write the interval into the address
// It resolves to the timeline, which is element.timeline too, or to null without any event. Its
// methods are in actions.js: setView(from, to) in ns, show, search, settled() once the picture is
// exact, refresh() after the recording has grown, unmount().
// The event "timeline:show" on the document shows an interval: its detail has from and to in
// seconds, and an optional lane.
(() => {
  const shared = window.perfscopeTimeline;
  const STRIP_COLUMNS = 480;
  const NS_PER_S = 1e9;
  const TYPING_PAUSE_MS = 120;
  const UNFOLDED_RANKS = 4;

  shared.mount = async (element, source, options = {}) => {
    const timeline = {
      element,
      source,
      options,
      view: { from: 0, to: 1, scroll: 0 },
      collapsedTracks: new Set(),
      collapsedGroups: new Set(),
      pinnedTracks: new Set(),
      shownRows: new Map(),
      hiddenColors: new Set(),
      widths: new Map(),
      panelTurn: 0,
      waiters: [],
      reducedMotion: matchMedia("(prefers-reduced-motion: reduce)").matches,
      picture: null,
      overview: null,
      requestedTurn: 0,
      answeredTurn: 0,
      stats: [],
    };
    element.classList.add("tl");
    element.timeline = timeline;
    timeline.firstPicture = new Promise((resolve) => {
      timeline.resolveFirstPicture = resolve;
    });
    element.replaceChildren(shared.node("div", { class: "tl-message" }, "loading the timeline"));
    try {
      timeline.meta = await source.meta();
    } catch (error) {
      return showMessage(element, `Could not load the timeline: ${error.message}`);
    }
    if (!timeline.meta.tracks.length) {
      return showMessage(element, "This recording has no events for the timeline.");
    }
    readMeta(timeline);
    for (const track of timeline.tracks) {
      if (track.collapsed) timeline.collapsedTracks.add(track.number);
    }
    foldGroups(timeline);
    [timeline.view.from, timeline.view.to] = timeline.meta.span;
    build(timeline);
    shared.addActions(timeline, refresh);
    shared.addInputListeners(timeline);
    timeline.recolor();
    timeline.resize();
    scrollToChosenRank(timeline);
    shared.showLegend(timeline);
    watchPage(timeline);
    const isPlaced = shared.showAddress(timeline, false);
    const [firstMark] = timeline.meta.marks;
    if (!isPlaced && options.first === "finding" && firstMark) {
      shared.showPlace(timeline, firstMark);
      shared.explainMark(timeline, 0);
    }
    return timeline;
  };

  function showMessage(element, text) {
    element.replaceChildren(shared.node("div", { class: "tl-message" }, text));
    element.dataset.ready = "no";
    return null;
  }

  // Sets what follows from the meta data.
  function readMeta(timeline) {
    const { meta, options, source } = timeline;
    timeline.zero = Math.min(0, meta.span[0]);
    timeline.tracks = shared
      .readTracks(meta)
      .filter((track) => !options.only || options.only.includes(track.kind));
    timeline.colors = shared.decodeBase64(meta.name_colors);
    timeline.waiting = timeline.colors.map((color) => (meta.waits[color] ? 1 : 0));
    timeline.names = new shared.Names(meta.names, meta.name_count, source.names, () =>
      timeline.requestFrame(),
    );
    loadStrip(timeline);
  }

  // Only the rank that the address names is unfolded; of many ranks, only those before the fifth,
  // and the rank that the selector of the dashboard shows.
  function foldGroups({ meta, collapsedGroups }) {
    const ranks = new Set(meta.groups.map(([, rank]) => rank));
    const chosen = chosenRank();
    if (ranks.size <= UNFOLDED_RANKS && !ranks.has(chosen)) return;
    const shown = Number(document.getElementById("rank")?.dataset.rank ?? NaN);
    const first = [...ranks].slice(0, UNFOLDED_RANKS);
    const unfolded = ranks.has(chosen) ? [chosen] : [...first, shown];
    meta.groups.forEach(([, rank], group) => {
      if (!unfolded.includes(rank)) collapsedGroups.add(group);
    });
  }

  function chosenRank() {
    return Number(new URLSearchParams(location.search).get("rank") ?? NaN);
  }

  function scrollToChosenRank(timeline) {
    const { heads } = timeline.layout;
    const head = heads.find(({ group }) => timeline.meta.groups[group][1] === chosenRank());
    if (head) timeline.scrollTo(head.y);
  }

  // The strip costs the server as much as the lanes, so the lanes are loaded first.
  async function loadStrip(timeline) {
    try {
      await (timeline.picture ? undefined : timeline.firstPicture);
      timeline.strip = await timeline.source.strip(STRIP_COLUMNS);
    } catch {
      return;
    }
    timeline.requestFrame();
  }

  // After the recording has grown: a view of the whole run or of its end follows the new end.
  async function refresh(timeline) {
    const { view } = timeline;
    const showedWholeRun = timeline.showsWholeRun();
    const showedEnd = view.to >= timeline.meta.span[1] * 0.999;
    const span = view.to - view.from;
    const meta = await timeline.source.meta();
    if (!meta.tracks.length) return;
    timeline.meta = meta;
    readMeta(timeline);
    timeline.eventCount.textContent = shared.formatCount(meta.events);
    const [begin, end] = meta.span;
    if (showedWholeRun) {
      view.from = begin;
      view.to = end;
    } else if (showedEnd) {
      view.from = end - span;
      view.to = end;
    }
    timeline.recolor();
    timeline.relayout();
  }

  function build(timeline) {
    const { node } = shared;
    timeline.canvas = node("canvas", {
      class: "tl-main",
      tabindex: 0,
      role: "application",
      "aria-label":
        "Timeline. w and s zoom, a and d move, arrow keys scroll, Enter selects what is in view," +
        " n and p go from finding to finding, slash searches.",
    });
    timeline.stripCanvas = node("canvas", {
      class: "tl-strip",
      role: "img",
      "aria-label": "The whole run; drag to select a range",
    });
    timeline.scrollbar = node("div", { class: "tl-bar", hidden: true });
    timeline.tip = node("div", { class: "tl-tip", hidden: true });
    timeline.panel = node("div", { class: "tl-panel", "aria-live": "polite" });
    timeline.why = shared.whyLine();
    timeline.edge = shared.panelEdge(timeline);
    timeline.element.classList.toggle("tl-fill", timeline.options.height === "fill");
    timeline.element.replaceChildren(
      headLine(timeline),
      timeline.why,
      timeline.stripCanvas,
      node("div", { class: "tl-body" }, timeline.canvas, timeline.scrollbar, timeline.tip),
      timeline.edge,
      timeline.panel,
    );
    timeline.pen = timeline.canvas.getContext("2d", { alpha: false });
    timeline.stripPen = timeline.stripCanvas.getContext("2d", { alpha: false });
    timeline.painters = [new shared.Painter(), new shared.Painter(), new shared.Painter()];
  }

  function headLine(timeline) {
    const { node } = shared;
    const { meta } = timeline;
    timeline.eventCount = node("b", {}, shared.formatCount(meta.events));
    const lanes = shared.readTracks(meta).reduce((sum, track) => sum + track.rows, 0);
    const counts = [" events in ", shared.formatCount(lanes), lanes === 1 ? " lane" : " lanes"];
    const showWholeRun = () => shared.glide(timeline, ...meta.span);
    return node(
      "div",
      { class: "tl-head" },
      node("span", {}, timeline.eventCount, ...counts),
      button("whole run", "Home", showWholeRun),
      findingsButton(timeline),
      searchForm(timeline),
    );
  }

  function findingsButton(timeline) {
    const places = timeline.meta.marks.length;
    if (!places) return null;
    const label = places === 1 ? "show the finding" : `next of ${places} finding locations`;
    return button(label, "n", () => timeline.goToFinding(1));
  }

  function searchForm(timeline) {
    const { node } = shared;
    const searchAfterPause = () => {
      clearTimeout(timeline.typingTimer);
      const search = () => timeline.search(timeline.searchField.value);
      timeline.typingTimer = setTimeout(search, TYPING_PAUSE_MS);
    };
    timeline.searchField = node("input", {
      type: "search",
      placeholder: "/  search operators, kernels, ranges",
      "aria-label": "search operators, kernels, ranges",
      maxlength: 200,
      oninput: searchAfterPause,
    });
    timeline.searchResult = node("output", {});
    return node(
      "div",
      { class: "tl-find" },
      timeline.searchResult,
      timeline.searchField,
      button("‹", "previous hit, ⇧ Enter", () => timeline.goToHit(true)),
      button("›", "next hit, Enter", () => timeline.goToHit(false)),
    );
  }

  function button(label, title, action) {
    return shared.node("button", { type: "button", title, onclick: action }, label);
  }

  function watchPage(timeline) {
    timeline.sizeObserver = new ResizeObserver(() => timeline.resize());
    timeline.sizeObserver.observe(timeline.element);
    const recolor = () => timeline.recolor();
    timeline.themeObserver = new MutationObserver(recolor);
    timeline.themeObserver.observe(document.documentElement, {
      attributes: true,
      attributeFilter: ["class", "data-theme"],
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolor);
    addEventListener("beforeprint", () => drawForPrint(timeline, true));
    addEventListener("afterprint", () => drawForPrint(timeline, false));
    timeline.onShow = (event) => {
      const { from, to, lane } = event.detail;
      timeline.show(from * NS_PER_S, to * NS_PER_S, lane);
      shared.explainInterval(timeline, from * NS_PER_S, to * NS_PER_S);
    };
    document.addEventListener("timeline:show", timeline.onShow);
    timeline.onHash = () => shared.showAddress(timeline, true);
    addEventListener("hashchange", timeline.onHash);
  }

  // On paper the lanes have its width and colors, and show the first finding where the whole run
  // is in view.
  function drawForPrint(timeline, printing) {
    const { meta, view } = timeline;
    timeline.printing = printing;
    timeline.resize();
    timeline.recolor();
    if (printing && timeline.showsWholeRun() && meta.marks.length) {
      timeline.viewBeforePrint = { from: view.from, to: view.to };
      shared.showPlace(timeline, meta.marks[0]);
    } else if (!printing && timeline.viewBeforePrint) {
      const { from, to } = timeline.viewBeforePrint;
      timeline.viewBeforePrint = timeline.shown = null;
      timeline.setView(from, to);
    }
    shared.drawAll(timeline);
  }

  // An element with data-timeline="/timeline/RUN" is mounted whenever a page adds it, with the
  // options of data-height, data-only (words), and data-first.
  const mountedTimelines = new Map();

  function mountNewElements() {
    for (const [element, mounted] of mountedTimelines) {
      if (!element.isConnected) {
        mounted.then((timeline) => timeline && timeline.unmount());
        mountedTimelines.delete(element);
      }
    }
    for (const element of document.querySelectorAll("[data-timeline]")) {
      if (!mountedTimelines.has(element)) mountedTimelines.set(element, mountFromData(element));
    }
  }

  function mountFromData(element) {
    const { timeline: base, height, only, first } = element.dataset;
    return shared.mount(element, shared.httpSource(base), {
      height: height === "fill" ? height : Number(height) || undefined,
      only: only && only.split(" "),
      first,
    });
  }

  const observer = new MutationObserver(mountNewElements);
  observer.observe(document.documentElement, { childList: true, subtree: true });
  if (document.body) mountNewElements();
})();
