"use strict";
// The timeline: mount(element, source, options). State, what is asked of the source and when, and what the page may ask for.
//   options.height  CSS pixels of the lanes at most (default 560; "fill" takes the element's height)
//   options.paper   colours that it is printed in
//   options.only    kinds of tracks that are shown (default: all)
//   options.first   "finding": where the address names no window, the first finding's
//   options.hash    false: the window is not written into the address (default: #timeline?from=..&to=..&lane=..)
// It resolves to a handle, also element.timeline: look(from, to) in ns, show, find, settled() when the picture is exact, refresh() when
// the recording has grown, unmount().
// An interval is shown on document event "timeline:show" with detail {from, to} in seconds, and lane if there is one.
(() => {
  const own = window.perfscopeTimeline;
  const RULER = 24;
  const STRIP = 56;
  const GUTTER = 196;
  const NARROW = 132;
  const OVER = 0.02;
  const COLUMNS = 480;
  const NS = 1e9;

  own.mount = async (element, source, options = {}) => {
    const t = {
      element,
      source,
      options,
      view: { from: 0, to: 1, scroll: 0 },
      shutTracks: new Set(),
      shutGroups: new Set(),
      widths: new Map(),
      panelTurn: 0,
      asked: [],
      still: matchMedia("(prefers-reduced-motion: reduce)").matches,
      now: null,
      base: null,
      wanted: 0,
      got: 0,
      stats: [],
    };
    element.classList.add("tl");
    element.timeline = t;
    t.first = new Promise((done) => {
      t.drawn = done;
    });
    element.replaceChildren(own.node("div", { class: "tl-say" }, "loading the timeline"));
    try {
      t.meta = await source.meta();
    } catch (error) {
      return said(element, `Could not load the timeline: ${error.message}`);
    }
    if (!t.meta.tracks.length)
      return said(element, "This recording has no events for the timeline.");
    learn(t);
    for (const track of t.tracks) if (track.shut) t.shutTracks.add(track.number);
    [t.view.from, t.view.to] = t.meta.span;
    build(t);
    actions(t);
    own.listen(t);
    t.recolour();
    t.resize();
    own.showNothing(t);
    watch(t);
    if (!fromAddress(t, false) && options.first === "finding" && t.meta.marks.length)
      pointedAt(t, t.meta.marks[0]);
    return t;
  };

  // What follows from the meta data.
  function learn(t) {
    t.zero = Math.min(0, t.meta.span[0]);
    t.tracks = own
      .tracks(t.meta)
      .filter((one) => !t.options.only || t.options.only.includes(one.kind));
    t.colours = own.bytesOf(t.meta.name_colours);
    t.waiting = t.colours.map((one) => (t.meta.waits[one] ? 1 : 0));
    t.names = new own.Names(t.meta.names, t.meta.name_count, t.source.names, () => t.changed());
    // The lanes first: the strip costs the server as much again.
    (t.now ? Promise.resolve() : t.first)
      .then(() => t.source.strip(COLUMNS))
      .then(
        (strip) => {
          t.strip = strip;
          t.changed();
        },
        () => {},
      );
  }

  // The recording has grown: the window stays, unless it shows the whole or looks at the end, which it then follows.
  async function refresh(t) {
    const whole = t.whole();
    const last = t.view.to >= t.meta.span[1] * 0.999;
    const wide = t.view.to - t.view.from;
    const meta = await t.source.meta();
    if (!meta.tracks.length) return;
    t.meta = meta;
    learn(t);
    t.total.textContent = own.count(meta.events);
    if (whole) [t.view.from, t.view.to] = meta.span;
    else if (last) [t.view.from, t.view.to] = [meta.span[1] - wide, meta.span[1]];
    t.recolour();
    t.relayout();
  }

  function said(element, text) {
    element.replaceChildren(own.node("div", { class: "tl-say" }, text));
    element.dataset.ready = "no";
    return null;
  }

  function build(t) {
    const { node } = own;
    t.canvas = node("canvas", {
      class: "tl-main",
      tabindex: 0,
      role: "application",
      "aria-label":
        "Timeline. w and s zoom, a and d move, arrow keys scroll, Enter selects what is in view, n and p go from finding to finding, slash searches.",
    });
    t.stripCanvas = node("canvas", {
      class: "tl-strip",
      role: "img",
      "aria-label": "The whole run; drag to select a range",
    });
    t.bar = node("div", { class: "tl-bar", hidden: true });
    t.tip = node("div", { class: "tl-tip", hidden: true });
    t.field = node("input", {
      type: "search",
      placeholder: "/  search operators, kernels, ranges",
      "aria-label": "search operators, kernels, ranges",
      maxlength: 200,
      oninput: () => {
        clearTimeout(t.typing);
        t.typing = setTimeout(() => t.find(t.field.value), 120);
      },
    });
    t.found = node("output", {});
    t.panel = node("div", { class: "tl-panel", "aria-live": "polite" });
    const button = (words, title, act) =>
      node("button", { type: "button", title, onclick: act }, words);
    t.total = node("b", {}, own.count(t.meta.events));
    const rows = t.meta.tracks.reduce((sum, one) => sum + one[4], 0);
    const count = node(
      "span",
      {},
      t.total,
      " events in ",
      own.count(rows),
      rows === 1 ? " lane" : " lanes",
    );
    const findings = t.meta.marks.length
      ? button(
          t.meta.marks.length === 1
            ? "show the finding"
            : `next of ${t.meta.marks.length} finding locations`,
          "n",
          () => t.finding(1),
        )
      : null;
    t.element.replaceChildren(
      node(
        "div",
        { class: "tl-head" },
        count,
        button("whole run", "Home", () => own.glide(t, ...t.meta.span)),
        findings,
        node(
          "div",
          { class: "tl-find" },
          t.found,
          t.field,
          button("‹", "previous hit, ⇧ Enter", () => t.hit(true)),
          button("›", "next hit, Enter", () => t.hit(false)),
        ),
      ),
      t.stripCanvas,
      node("div", { class: "tl-body" }, t.canvas, t.bar, t.tip),
      t.panel,
    );
    t.pen = t.canvas.getContext("2d", { alpha: false });
    t.stripPen = t.stripCanvas.getContext("2d", { alpha: false });
    t.painters = [new own.Painter(), new own.Painter(), new own.Painter()];
  }

  function watch(t) {
    t.observer = new ResizeObserver(() => t.resize());
    t.observer.observe(t.element);
    t.repaint = () => t.recolour();
    t.themes = new MutationObserver(t.repaint);
    t.themes.observe(document.documentElement, {
      attributes: true,
      attributeFilter: ["class", "data-theme"],
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", t.repaint);
    for (const [name, printing] of [
      ["beforeprint", true],
      ["afterprint", false],
    ]) {
      addEventListener(name, () => {
        t.printing = printing;
        t.recolour();
        own.drawFrame(t);
        own.drawStrip(t);
      });
    }
    t.onShow = (event) => t.show(event.detail.from * NS, event.detail.to * NS, event.detail.lane);
    document.addEventListener("timeline:show", t.onShow);
    t.onHash = () => fromAddress(t, true);
    addEventListener("hashchange", t.onHash);
  }

  // #timeline?from=..&to=.. is a window that was looked at, with selected=FROM,TO what was selected in it (tracks=.. of these, by=..);
  // ?from=..&to=.. a stretch that another page points at.
  function fromAddress(t, glide) {
    const [, words] = /^#timeline\?(.*)$/.exec(location.hash) || [];
    if (words !== undefined && location.hash === t.written) return false;
    const query = new URLSearchParams(words === undefined ? location.search : words);
    const from = Number(query.get("from")) * NS;
    const to = Number(query.get("to")) * NS;
    if (!(to > from)) return false;
    if (words === undefined) pointedAt(t, { from, to });
    else if (glide) own.glide(t, from, to);
    else t.look(from, to);
    if (query.get("lane")) t.reveal(Number(query.get("lane")));
    const [begin, end] = (query.get("selected") || "").split(",").map((one) => Number(one) * NS);
    if (!(end > begin)) return true;
    const numbers = (query.get("tracks") || "").split(",").filter(Boolean).map(Number);
    const tracks = t.tracks.filter((one) => numbers.includes(one.number));
    if (t.meta.by.includes(query.get("by"))) t.by = query.get("by");
    t.selection = {
      from: begin,
      to: end,
      ...(tracks.length ? own.ofTracks(t, tracks) : own.everything(t)),
    };
    t.changed();
    own.showSelection(t);
    return true;
  }

  // A stretch that a page points at, with room around it.
  function pointedAt(t, { from, to }) {
    t.shown = { from, to };
    t.look(from - (to - from) * 0.6, to + (to - from) * 0.6);
  }

  function actions(t) {
    Object.assign(t, {
      whole: () => t.view.to - t.view.from >= (t.meta.span[1] - t.meta.span[0]) * 0.9999,
      look(from, to) {
        look(t, from, to);
      },
      scrollTo(y) {
        const scroll = own.clamp(y, 0, Math.max(t.layout.height - t.size.height + t.size.ruler, 0));
        if (scroll !== t.view.scroll) {
          t.view.scroll = scroll;
          t.moved();
        }
      },
      moved() {
        t.since = t.since || performance.now();
        t.changed();
        ask(t);
        write(t);
      },
      changed() {
        if (!t.frame)
          t.frame = requestAnimationFrame(() => {
            t.frame = 0;
            own.drawFrame(t);
            own.drawStrip(t);
            scrollBar(t);
          });
      },
      recolour() {
        t.theme = own.theme(t.element, t.meta, t.printing ? t.options.paper : null);
        t.shades = own.shades(
          t.theme,
          t.colours,
          t.meta.colours.map((one) => one.startsWith("step_")),
        );
        repaint(t);
      },
      relayout() {
        t.layout = own.layout(t.meta, t.tracks, t.shutTracks, t.shutGroups);
        t.base = t.named = null;
        sized(t);
        t.scrollTo(t.view.scroll);
        t.moved();
      },
      resize() {
        const width = t.element.clientWidth;
        if (width < 50 || (t.size && t.size.width === width && t.options.height !== "fill")) return;
        const gutter = width < 760 ? NARROW : GUTTER;
        t.size = {
          width,
          gutter,
          plot: width - gutter,
          ruler: RULER,
          height: 0,
          dpr: Math.min(devicePixelRatio || 1, 2),
        };
        t.relayout();
      },
      show(from, to, lane) {
        t.shown = { from, to };
        const room = Math.max((to - from) * 0.6, 1000);
        own.glide(t, from - room, to + room);
        if (lane !== undefined) t.reveal(lane);
      },
      reveal(lane) {
        reveal(t, lane);
      },
      async goTo(place) {
        t.reveal(place.lane);
        const wide = Math.max(
          place.dur_ns * 6,
          Math.min(t.view.to - t.view.from, place.dur_ns * 200),
        );
        const middle = place.ts_ns + place.dur_ns / 2;
        own.glide(t, middle - wide / 2, middle + wide / 2);
        t.chosen = await t.source.event(place.lane, Math.round(place.ts_ns + place.dur_ns / 2));
        if (t.chosen) own.showEvent(t, t.chosen);
        t.changed();
      },
      fit() {
        const one = t.selection
          ? {
              from: Math.min(t.selection.from, t.selection.to),
              to: Math.max(t.selection.from, t.selection.to),
            }
          : t.chosen
            ? { from: t.chosen.ts_ns, to: t.chosen.ts_ns + Math.max(t.chosen.dur_ns, 1) }
            : t.shown;
        if (one)
          own.glide(t, one.from - (one.to - one.from) * 0.15, one.to + (one.to - one.from) * 0.15);
        else own.glide(t, ...t.meta.span);
      },
      finding(way) {
        const marks = t.meta.marks;
        if (!marks.length) return;
        t.mark =
          ((t.mark === undefined ? (way > 0 ? -1 : 0) : t.mark) + way + marks.length) %
          marks.length;
        const mark = marks[t.mark];
        t.show(mark.from, mark.to);
        t.say(`${mark.id}: ${mark.text}`);
      },
      async step(way) {
        const steps = t.tracks.find((one) => one.kind === "steps");
        if (!steps) return;
        const middle = (t.view.from + t.view.to) / 2;
        const here = await t.source.event(steps.first, Math.round(middle));
        const at = here ? (way > 0 ? here.ts_ns + here.dur_ns + 1 : here.ts_ns - 1) : middle;
        const next = await t.source.event(steps.first, Math.round(at));
        if (next && next.dur_ns)
          own.glide(t, next.ts_ns - next.dur_ns * 0.05, next.ts_ns + next.dur_ns * 1.05);
      },
      back() {
        t.selection = t.chosen = t.shown = null;
        t.panelTurn++;
        own.showNothing(t);
        t.changed();
        write(t);
      },
      remember() {
        write(t);
      },
      selectView() {
        t.selection = { from: t.view.from, to: t.view.to, ...own.everything(t) };
        t.chosen = null;
        t.changed();
        own.showSelection(t);
      },
      refresh() {
        return refresh(t).catch((error) => t.say(`Could not load the timeline: ${error.message}`));
      },
      say(text) {
        own.say(t, text);
      },
      settled: () => (t.asking ? new Promise((done) => t.asked.push(done)) : Promise.resolve(t)),
      find(words) {
        return find(t, words);
      },
      hit(back) {
        hit(t, back);
      },
      unmount() {
        t.observer.disconnect();
        t.themes.disconnect();
        document.removeEventListener("keydown", t.keys);
        document.removeEventListener("timeline:show", t.onShow);
        removeEventListener("hashchange", t.onHash);
      },
    });
  }

  function look(t, from, to) {
    const [begin, end] = t.meta.span;
    const room = (end - begin) * OVER;
    const least = 20;
    let wide = own.clamp(to - from, least, end - begin);
    if (to - from >= end - begin) {
      from = begin;
      wide = end - begin;
    } else if (to - from < least) {
      from = (from + to) / 2 - least / 2;
    }
    from = own.clamp(
      from,
      begin - (wide < end - begin ? Math.min(room, wide / 2) : 0),
      end - wide + (wide < end - begin ? Math.min(room, wide / 2) : 0),
    );
    if (from === t.view.from && from + wide === t.view.to) return;
    t.view.from = from;
    t.view.to = from + wide;
    t.moved();
  }

  function sized(t) {
    const limit =
      t.options.height === "fill"
        ? Math.max(
            t.element.clientHeight - t.canvas.parentElement.offsetTop - t.panel.offsetHeight,
            260,
          )
        : t.options.height || 560;
    t.size.height = Math.round(own.clamp(t.layout.height + RULER + 2, 120, limit));
    t.stripHeight = STRIP;
    for (const [canvas, height] of [
      [t.canvas, t.size.height],
      [t.stripCanvas, STRIP],
    ]) {
      canvas.width = Math.round(t.size.width * t.size.dpr);
      canvas.height = Math.round(height * t.size.dpr);
      canvas.style.height = `${height}px`;
    }
    t.named = t.ground = null;
  }

  // At most one question under way; what was asked for meanwhile is asked when it is answered, the newest only.
  async function ask(t) {
    t.wanted++;
    if (t.asking) return;
    t.asking = true;
    try {
      while (t.got !== t.wanted) {
        const turn = t.wanted;
        const asked = question(t);
        const begun = performance.now();
        const tile = asked.lanes.length
          ? await t.source.tile(asked.from, asked.to, asked.pixels, asked.lanes)
          : { from: asked.from, to: asked.to, pixels: asked.pixels, lanes: new Map() };
        t.got = turn;
        const came = performance.now();
        if (asked.layout === t.layout) place(t, tile, asked);
        t.stats.push({
          wait: came - begun,
          paint: performance.now() - came,
          bytes: tile.bytes || 0,
          server: tile.server || 0,
          hand: came - (t.since || came),
        });
        if (t.stats.length > 400) t.stats.shift();
      }
    } catch (error) {
      t.say(`No answer from the timeline server: ${error.message}`);
    } finally {
      t.asking = false;
      t.since = 0;
      for (const done of t.asked.splice(0)) done(t);
    }
  }

  function question(t) {
    const from = Math.floor(t.view.from);
    const to = Math.max(Math.ceil(t.view.to), from + 1);
    const room = t.size.height - t.size.ruler;
    const rows = own.visible(t.layout, t.view.scroll, t.view.scroll + room);
    return {
      from,
      to,
      rows,
      lanes: [...new Set(rows.map((row) => row.lane))].sort((a, b) => a - b),
      layout: t.layout,
      scroll: t.view.scroll,
      pixels: Math.min(Math.round(t.size.plot * t.size.dpr), 8192),
    };
  }

  // Paints what came; of pictures of the whole the last is kept as the ground for what is not here yet.
  function place(t, tile, asked) {
    const free = t.painters.find(
      (one) => one !== (t.now && t.now.painter) && one !== (t.base && t.base.painter),
    );
    t.now = { ...asked, tile, from: tile.from, to: tile.to, painter: free };
    if (tile.to - tile.from >= (t.meta.span[1] - t.meta.span[0]) * 0.999) t.base = t.now;
    painted(t, t.now);
    t.element.dataset.ready = "yes";
    t.drawn();
    if (t.frame) cancelAnimationFrame(t.frame);
    t.frame = 0;
    own.drawFrame(t);
    own.drawStrip(t);
    scrollBar(t);
  }

  function painted(t, shot) {
    const { dpr } = t.size;
    const rows = shot.rows.map((row) => ({
      lane: row.lane,
      y: Math.round((row.y - shot.scroll) * dpr),
      h: Math.round(row.h * dpr),
    }));
    shot.painter.paint(
      shot.tile,
      rows,
      Math.max(Math.round((t.size.height - t.size.ruler) * dpr), 1),
      { theme: t.theme, shades: t.shades, waiting: t.waiting, hits: t.hits },
    );
  }

  function repaint(t) {
    for (const shot of new Set([t.base, t.now])) if (shot) painted(t, shot);
    if (t.layout) t.changed();
  }

  function scrollBar(t) {
    const room = t.size.height - t.size.ruler;
    const share = room / t.layout.height;
    t.bar.hidden = share >= 1;
    t.bar.style.top = `${t.size.ruler + t.view.scroll * share}px`;
    t.bar.style.height = `${Math.max(room * share, 24)}px`;
  }

  function write(t) {
    if (t.options.hash === false) return;
    clearTimeout(t.writing);
    t.writing = setTimeout(() => {
      const number = (ns) => (ns / NS).toFixed(9).replace(/\.?0+$/, "");
      const one = t.selection;
      const what = one
        ? `&selected=${number(Math.min(one.from, one.to))},${number(Math.max(one.from, one.to))}${one.tracks ? `&tracks=${one.tracks}` : ""}&by=${t.by || "name"}`
        : t.chosen
          ? `&lane=${t.chosen.lane}`
          : "";
      t.written = `#timeline?from=${number(t.view.from)}&to=${number(t.view.to)}${what}`;
      if (t.whole() && !one && !location.hash.startsWith("#timeline")) return;
      try {
        history.replaceState(null, "", t.written);
      } catch {
        t.options.hash = false;
      }
    }, 300);
  }

  function reveal(t, lane) {
    const track = t.tracks.find((one) => lane >= one.first && lane < one.first + one.rows);
    if (!track) return;
    if (
      t.shutGroups.delete(track.group) | (lane > track.first && t.shutTracks.delete(track.number))
    )
      t.relayout();
    const row = own.rowOfLane(t, lane);
    const room = t.size.height - t.size.ruler;
    if (row && (row.y < t.view.scroll || row.y + row.h > t.view.scroll + room))
      t.scrollTo(row.y - room / 2);
  }

  async function find(t, words) {
    const asked = (t.words = words.trim());
    t.place = null;
    if (!asked) {
      t.hits = t.density = null;
      t.found.textContent = "";
      return repaint(t);
    }
    let found;
    try {
      found = await t.source.search(asked);
    } catch (error) {
      t.found.textContent = error.message;
      return undefined;
    }
    if (asked !== t.words) return undefined;
    t.hits = new Uint8Array(t.colours.length);
    for (const code of found.codes) t.hits[code] = 1;
    t.density = found.density;
    t.found.textContent = found.count ? `${own.count(found.count)} hits` : "no match";
    return repaint(t);
  }

  async function hit(t, back) {
    if (!t.words) return;
    const at = t.place || { at: Math.floor(t.view.from) - 1, lane: -1 };
    const found = await t.source.hit(t.words, at.at, at.lane, back);
    if (!found) {
      t.found.textContent = t.place ? "no more hits" : "no hit after this point";
      t.place = null;
      return;
    }
    t.place = { at: found.ts_ns, lane: found.lane };
    await t.goTo(found);
  }

  // An element with data-timeline="/timeline/RUN" becomes one by itself, whenever a page puts it there; data-height, data-only (words) and
  // data-first as the options.
  const alive = new Map();
  function adopt() {
    for (const [element, mounted] of alive)
      if (!element.isConnected) {
        mounted.then((t) => t && t.unmount());
        alive.delete(element);
      }
    for (const element of document.querySelectorAll("[data-timeline]")) {
      if (!alive.has(element)) {
        const { timeline: base, height, only, first } = element.dataset;
        alive.set(
          element,
          own.mount(element, own.httpSource(base), {
            height: height === "fill" ? height : Number(height) || undefined,
            only: only && only.split(" "),
            first,
          }),
        );
      }
    }
  }
  new MutationObserver(adopt).observe(document.documentElement, { childList: true, subtree: true });
  if (document.body) adopt();
})();
