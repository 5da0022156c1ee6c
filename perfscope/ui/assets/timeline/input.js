"use strict";
// Hand and keyboard: zoom at the pointer, drag to move, shift-drag to select, click for an event, keys for all of it.
(() => {
  const own = window.perfscopeTimeline;
  const NEAR = 4;
  const STEP = 0.2;
  const ZOOM = 0.7;
  const EASE_MS = 160;

  own.zoom = (t, factor, at) => {
    const { from, to } = t.view;
    const middle = at === undefined ? (from + to) / 2 : own.clamp(at, from, to);
    t.look(middle - (middle - from) * factor, middle + (to - middle) * factor);
  };
  own.pan = (t, share) => {
    const wide = t.view.to - t.view.from;
    t.look(t.view.from + share * wide, t.view.to + share * wide);
  };

  // A jump that the eye can follow; none where the reader asked for less motion.
  own.glide = (t, from, to) => {
    const begin = { ...t.view };
    const started = performance.now();
    if (t.still) return t.look(from, to);
    const turn = (t.gliding = {});
    const frame = (now) => {
      if (t.gliding !== turn) return;
      const done = own.clamp((now - started) / EASE_MS, 0, 1);
      const part = 1 - (1 - done) ** 3;
      t.look(begin.from + (from - begin.from) * part, begin.to + (to - begin.to) * part);
      if (done < 1) requestAnimationFrame(frame);
      else t.gliding = null;
    };
    requestAnimationFrame(frame);
    return undefined;
  };

  own.listen = (t) => {
    const { canvas } = t;
    canvas.addEventListener("wheel", (event) => wheel(t, event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => press(t, event));
    canvas.addEventListener("pointermove", (event) => {
      if (!t.dragging) hover(t, event);
    });
    canvas.addEventListener("pointerleave", () => {
      t.tip.hidden = true;
      t.pointer = null;
    });
    canvas.addEventListener("dblclick", (event) => {
      if (place(t, event).x > t.size.gutter) own.zoom(t, 0.25, own.ns(t, place(t, event).x));
    });
    t.stripCanvas.addEventListener("pointerdown", (event) => pressStrip(t, event));
    t.bar.addEventListener("pointerdown", (event) => pressBar(t, event));
    t.keys = (event) => key(t, event);
    document.addEventListener("keydown", t.keys);
  };

  function place(t, event) {
    const box = t.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  function wheel(t, event) {
    const { x } = place(t, event);
    const lines = event.deltaMode === 1 ? 16 : 1;
    if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      event.preventDefault();
      return own.pan(t, ((event.deltaX || event.deltaY) * lines) / t.size.plot);
    }
    if (x < t.size.gutter || event.altKey) {
      if (t.layout.height <= t.size.height - t.size.ruler) return undefined;
      event.preventDefault();
      return t.scrollTo(t.view.scroll + event.deltaY * lines);
    }
    // All in view and still turning outwards: the page's own scrolling goes on.
    if (event.deltaY > 0 && t.whole() && !event.ctrlKey) return undefined;
    event.preventDefault();
    return own.zoom(t, Math.exp(own.clamp(event.deltaY * lines, -240, 240) * 0.0022), own.ns(t, x));
  }

  function hover(t, event) {
    const { x, y } = place(t, event);
    t.pointer = { x, y };
    t.canvas.classList.toggle("gap", x < t.size.gutter);
    own.showTip(t, x, y);
  }

  function drag(t, event, moved, ended) {
    const from = event.target;
    event.preventDefault();
    from.setPointerCapture(event.pointerId);
    t.dragging = true;
    const stop = (last) => {
      from.removeEventListener("pointermove", moved);
      from.removeEventListener("pointerup", stop);
      from.removeEventListener("pointercancel", stop);
      t.dragging = false;
      if (ended) ended(last);
    };
    from.addEventListener("pointermove", moved);
    from.addEventListener("pointerup", stop);
    from.addEventListener("pointercancel", stop);
  }

  function press(t, event) {
    if (event.button !== 0) return;
    const start = place(t, event);
    const view = { ...t.view };
    t.canvas.focus({ preventScroll: true });
    t.tip.hidden = true;
    if (start.x < t.size.gutter) return shut(t, start.y);
    if (event.shiftKey || start.y < t.size.ruler) return select(t, event, start);
    let moved = false;
    drag(
      t,
      event,
      (move) => {
        const now = place(t, move);
        if (!moved && Math.abs(now.x - start.x) + Math.abs(now.y - start.y) < NEAR) return;
        moved = true;
        t.canvas.classList.add("drag");
        const shift = ((start.x - now.x) / t.size.plot) * (view.to - view.from);
        t.look(view.from + shift, view.to + shift);
        t.scrollTo(view.scroll + start.y - now.y);
      },
      () => {
        t.canvas.classList.remove("drag");
        if (!moved) click(t, start);
      },
    );
  }

  function select(t, event, start) {
    const overRuler = start.y < t.size.ruler;
    const from = own.ns(t, start.x);
    drag(
      t,
      event,
      (move) => {
        const now = place(t, move);
        const x = own.clamp(now.x, t.size.gutter, t.size.width);
        t.selection = {
          from,
          to: own.ns(t, x),
          ...(overRuler ? everything(t) : between(t, start.y, now.y)),
        };
        t.changed();
      },
      (last) => {
        if (Math.abs(place(t, last).x - start.x) < NEAR) {
          t.selection = null;
          return overRuler ? t.changed() : click(t, start);
        }
        t.chosen = null;
        t.changed();
        return own.showSelection(t);
      },
    );
  }

  // All lanes that say where time went: steps only divide it.
  function everything(t) {
    const lanes = t.tracks
      .filter((one) => one.kind !== "steps")
      .flatMap((one) => Array.from({ length: one.rows }, (_, row) => one.first + row));
    return { lanes, words: "all lanes" };
  }
  own.everything = everything;

  // The tracks that a dragged rectangle touches, whole: rows of a thread belong together.
  function between(t, one, other) {
    const top = Math.min(one, other) - t.size.ruler + t.view.scroll;
    const bottom = Math.max(one, other) - t.size.ruler + t.view.scroll;
    return own.ofTracks(t, [
      ...new Set(own.visible(t.layout, top, bottom + 1).map((row) => row.track)),
    ]);
  }
  own.ofTracks = (t, tracks) => {
    const rows = t.layout.rows.filter((row) => tracks.includes(row.track));
    if (!rows.length) return everything(t);
    const names = tracks.map((track) => track.title);
    return {
      lanes: tracks
        .flatMap((track) => Array.from({ length: track.rows }, (_, row) => track.first + row))
        .sort((a, b) => a - b),
      tracks: tracks.map((track) => track.number),
      words: names.length < 4 ? names.join(", ") : `${names.length} tracks`,
      top: rows[0].y,
      bottom: rows[rows.length - 1].y + rows[rows.length - 1].h,
    };
  };

  async function click(t, { x, y }) {
    const row = own.rowAt(t.layout, y - t.size.ruler + t.view.scroll);
    const turn = ++t.panelTurn;
    t.selection = null;
    if (!row) {
      t.chosen = null;
      own.showNothing(t);
      t.remember();
      return t.changed();
    }
    const slack = ((t.view.to - t.view.from) / t.size.plot) * 2;
    const at = own.ns(t, x);
    let found = null;
    try {
      for (const off of [0, -slack, slack])
        if (!found) found = await t.source.event(row.lane, Math.round(at + off));
    } catch (error) {
      return own.say(t, `Could not load the event: ${error.message}`);
    }
    if (turn !== t.panelTurn) return undefined;
    if (found && found.absent) {
      own.say(t, found.absent);
      t.chosen = null;
      return t.changed();
    }
    t.chosen = found;
    if (found) own.showEvent(t, found);
    else own.showNothing(t);
    t.remember();
    return t.changed();
  }

  function shut(t, y) {
    const at = y - t.size.ruler + t.view.scroll;
    const head = t.layout.heads.find((one) => at >= one.y && at < one.y + one.h);
    const toggle = (set, one) => (set.has(one) ? set.delete(one) : set.add(one));
    if (head) {
      toggle(t.shutGroups, head.group);
    } else {
      const row = own.visible(t.layout, at - 1, at + 1)[0];
      if (!row || row.track.rows < 2) return;
      toggle(t.shutTracks, row.track.number);
    }
    t.relayout();
  }

  function pressStrip(t, event) {
    const box = t.stripCanvas.getBoundingClientRect();
    const wide = t.view.to - t.view.from;
    const x = event.clientX - box.left;
    const at = own.stripNs(t, x);
    const inside = at >= t.view.from && at <= t.view.to && !t.whole();
    const hold = inside ? at - t.view.from : wide / 2;
    let fresh = event.shiftKey || t.whole();
    if (!fresh) t.look(at - hold, at - hold + wide);
    drag(
      t,
      event,
      (move) => {
        const now = own.stripNs(t, move.clientX - box.left);
        if (fresh) {
          if (Math.abs(move.clientX - box.left - x) > NEAR)
            t.look(Math.min(at, now), Math.max(at, now));
        } else {
          t.look(now - hold, now - hold + wide);
        }
      },
      () => {
        fresh = false;
      },
    );
  }

  function pressBar(t, event) {
    const start = event.clientY;
    const scroll = t.view.scroll;
    const share = t.layout.height / (t.size.height - t.size.ruler);
    drag(t, event, (move) => t.scrollTo(scroll + (move.clientY - start) * share));
  }

  // Letters work wherever the reader is on the page, unless something is typed into.
  function key(t, event) {
    const typing =
      event.target.closest && event.target.closest("input, textarea, select, [contenteditable]");
    if (event.ctrlKey || event.metaKey || event.altKey || !t.element.isConnected) return;
    if (typing) {
      if (event.target !== t.field) return;
      if (event.key === "Enter") {
        event.preventDefault();
        t.hit(event.shiftKey);
      }
      if (event.key === "Escape") {
        t.field.value = "";
        t.find("");
        t.canvas.focus({ preventScroll: true });
      }
      return;
    }
    const at = t.pointer ? own.ns(t, Math.max(t.pointer.x, t.size.gutter)) : undefined;
    const acts = {
      w: () => own.zoom(t, ZOOM, at),
      s: () => own.zoom(t, 1 / ZOOM, at),
      a: () => own.pan(t, -STEP),
      d: () => own.pan(t, STEP),
      f: () => t.fit(),
      n: () => t.finding(1),
      p: () => t.finding(-1),
      "[": () => t.step(-1),
      "]": () => t.step(1),
      "/": () => t.field.focus(),
      Escape: () => t.back(),
    };
    const focused = t.element.contains(document.activeElement);
    if (focused) {
      Object.assign(acts, {
        ArrowLeft: () => own.pan(t, -STEP),
        ArrowRight: () => own.pan(t, STEP),
        "+": () => own.zoom(t, ZOOM),
        "=": () => own.zoom(t, ZOOM),
        "-": () => own.zoom(t, 1 / ZOOM),
        ArrowUp: () => t.scrollTo(t.view.scroll - 40),
        ArrowDown: () => t.scrollTo(t.view.scroll + 40),
        Home: () => t.look(...t.meta.span),
        Enter: () => t.selectView(),
      });
    }
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    if (event.key === "/" || focused) event.preventDefault();
    act();
  }
})();
