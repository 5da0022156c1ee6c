"use strict";
// Pointer and keyboard: zoom at the pointer, drag to move, shift-drag to select, click for an
// event, and keys for all of these.
(() => {
  const shared = window.perfscopeTimeline;
  const CLICK_RADIUS = 4; // pixels that the pointer may move during a click
  const PAN_STEP = 0.2; // of the view
  const ZOOM_STEP = 0.7;
  const SCROLL_STEP = 40;
  const ANIMATION_MS = 160;

  shared.zoom = (timeline, factor, anchor) => {
    const { from, to } = timeline.view;
    const middle = anchor === undefined ? (from + to) / 2 : shared.clamp(anchor, from, to);
    timeline.setView(middle - (middle - from) * factor, middle + (to - middle) * factor);
  };

  shared.pan = (timeline, share) => {
    const { from, to } = timeline.view;
    const shift = share * (to - from);
    timeline.setView(from + shift, to + shift);
  };

  // Moves the view in an animation, or at once where the reader prefers reduced motion.
  shared.glide = (timeline, from, to) => {
    if (timeline.reducedMotion) {
      timeline.setView(from, to);
      return;
    }
    const start = { ...timeline.view };
    const started = performance.now();
    const animation = {};
    timeline.animation = animation;
    const drawStep = (now) => {
      const isReplaced = timeline.animation !== animation;
      if (isReplaced) return;
      const progress = shared.clamp((now - started) / ANIMATION_MS, 0, 1);
      const eased = 1 - (1 - progress) ** 3;
      const nextFrom = start.from + (from - start.from) * eased;
      const nextTo = start.to + (to - start.to) * eased;
      timeline.setView(nextFrom, nextTo);
      if (progress < 1) requestAnimationFrame(drawStep);
      else timeline.animation = null;
    };
    requestAnimationFrame(drawStep);
  };

  shared.addInputListeners = (timeline) => {
    const { canvas, stripCanvas, scrollbar } = timeline;
    canvas.addEventListener("wheel", (event) => onWheel(timeline, event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => onPress(timeline, event));
    canvas.addEventListener("pointermove", (event) => {
      if (!timeline.dragging) hover(timeline, event);
    });
    canvas.addEventListener("pointerleave", () => {
      timeline.tip.hidden = true;
      timeline.pointer = null;
    });
    canvas.addEventListener("dblclick", (event) => {
      const { x } = pointOf(timeline, event);
      if (x > timeline.size.gutter) shared.zoom(timeline, 0.25, shared.timeAt(timeline, x));
    });
    stripCanvas.addEventListener("pointerdown", (event) => dragStrip(timeline, event));
    scrollbar.addEventListener("pointerdown", (event) => dragScrollbar(timeline, event));
    timeline.onKey = (event) => onKey(timeline, event);
    document.addEventListener("keydown", timeline.onKey);
  };

  function pointOf(timeline, event) {
    const box = timeline.canvas.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  function onWheel(timeline, event) {
    const { layout, size, view } = timeline;
    const { x } = pointOf(timeline, event);
    const pixelsPerUnit = event.deltaMode === 1 ? 16 : 1;
    const isSideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (event.shiftKey || isSideways) {
      event.preventDefault();
      const delta = (event.deltaX || event.deltaY) * pixelsPerUnit;
      shared.pan(timeline, delta / size.plot);
      return;
    }
    const delta = event.deltaY * pixelsPerUnit;
    if (x < size.gutter || event.altKey) {
      if (layout.height <= size.height - size.ruler) return;
      event.preventDefault();
      timeline.scrollTo(view.scroll + delta);
      return;
    }
    // The page scrolls where there is nothing left to zoom out.
    if (delta > 0 && timeline.showsWholeRun() && !event.ctrlKey) return;
    event.preventDefault();
    const factor = Math.exp(shared.clamp(delta, -240, 240) * 0.0022);
    shared.zoom(timeline, factor, shared.timeAt(timeline, x));
  }

  function hover(timeline, event) {
    const { x, y } = pointOf(timeline, event);
    timeline.pointer = { x, y };
    timeline.canvas.classList.toggle("gap", x < timeline.size.gutter);
    if (x < timeline.size.gutter) showTrackTip(timeline, x, y);
    else shared.showTip(timeline, x, y);
  }

  // The whole name of a track, and what a click does.
  function showTrackTip(timeline, x, y) {
    const { layout, size, tip, view } = timeline;
    const contentY = y - size.ruler + view.scroll;
    const [row] = shared.visibleRows(layout, contentY - 1, contentY + 1);
    tip.hidden = !row || y < size.ruler;
    if (tip.hidden) return;
    const { track } = row;
    const isPin = x > size.gutter - shared.PIN_WIDTH;
    const pin = timeline.pinnedTracks.has(track.number) ? "unpin" : "pin to the top";
    const fold = track.rows > 1 ? "fold or unfold" : "";
    const action = isPin ? pin : fold;
    tip.replaceChildren(track.title, shared.node("span", {}, action && ` · click: ${action}`));
    shared.placeTip(timeline, x, y);
  }

  function drag(timeline, event, onMove, onEnd) {
    const target = event.target;
    event.preventDefault();
    target.setPointerCapture(event.pointerId);
    timeline.dragging = true;
    const release = (lastEvent) => {
      target.removeEventListener("pointermove", onMove);
      target.removeEventListener("pointerup", release);
      target.removeEventListener("pointercancel", release);
      timeline.dragging = false;
      if (onEnd) onEnd(lastEvent);
    };
    target.addEventListener("pointermove", onMove);
    target.addEventListener("pointerup", release);
    target.addEventListener("pointercancel", release);
  }

  function onPress(timeline, event) {
    if (event.button !== 0) return;
    const start = pointOf(timeline, event);
    timeline.canvas.focus({ preventScroll: true });
    timeline.tip.hidden = true;
    if (start.x > timeline.size.gutter - shared.PIN_WIDTH && start.x < timeline.size.gutter) {
      togglePinned(timeline, start.y);
    } else if (start.x < timeline.size.gutter) {
      toggleCollapsed(timeline, start.y);
    } else if (event.shiftKey || start.y < timeline.size.ruler) {
      dragSelection(timeline, event, start);
    } else {
      dragView(timeline, event, start);
    }
  }

  function dragView(timeline, event, start) {
    const { canvas, size } = timeline;
    const view = { ...timeline.view };
    const nsPerPixel = (view.to - view.from) / size.plot;
    let hasMoved = false;
    const onMove = (move) => {
      const pointer = pointOf(timeline, move);
      const distance = Math.abs(pointer.x - start.x) + Math.abs(pointer.y - start.y);
      if (!hasMoved && distance < CLICK_RADIUS) return;
      hasMoved = true;
      canvas.classList.add("drag");
      const shift = (start.x - pointer.x) * nsPerPixel;
      timeline.setView(view.from + shift, view.to + shift);
      timeline.scrollTo(view.scroll + start.y - pointer.y);
    };
    const onEnd = () => {
      canvas.classList.remove("drag");
      if (!hasMoved) click(timeline, start);
    };
    drag(timeline, event, onMove, onEnd);
  }

  // A drag in the ruler selects on all lanes, one below it on the tracks that it touches.
  function dragSelection(timeline, event, start) {
    const { size } = timeline;
    const isInRuler = start.y < size.ruler;
    const from = shared.timeAt(timeline, start.x);
    const onMove = (move) => {
      const pointer = pointOf(timeline, move);
      const to = shared.timeAt(timeline, shared.clamp(pointer.x, size.gutter, size.width));
      const lanes = isInRuler
        ? shared.allLanes(timeline)
        : lanesBetween(timeline, start.y, pointer.y);
      timeline.selection = { from, to, ...lanes };
      timeline.requestFrame();
    };
    const onEnd = (lastEvent) => {
      const isClick = Math.abs(pointOf(timeline, lastEvent).x - start.x) < CLICK_RADIUS;
      if (isClick) timeline.selection = null;
      if (isClick && !isInRuler) {
        click(timeline, start);
        return;
      }
      if (!isClick) {
        timeline.chosen = null;
        shared.showSelection(timeline);
      }
      timeline.requestFrame();
    };
    drag(timeline, event, onMove, onEnd);
  }

  // All lanes but those of the steps, which are not work of their own.
  shared.allLanes = (timeline) => {
    const tracks = timeline.tracks.filter((track) => track.kind !== "steps");
    return { lanes: tracks.flatMap(shared.lanesOfTrack), words: "all lanes" };
  };

  // All lanes of the tracks between two heights: the rows of a thread belong together.
  function lanesBetween(timeline, startY, endY) {
    const { layout, size, view } = timeline;
    const offset = view.scroll - size.ruler;
    const top = Math.min(startY, endY) + offset;
    const bottom = Math.max(startY, endY) + offset;
    const rows = shared.visibleRows(layout, top, bottom + 1);
    const tracks = new Set(rows.map((row) => row.track));
    return shared.lanesOfTracks(timeline, [...tracks]);
  }

  shared.lanesOfTracks = (timeline, tracks) => {
    const rows = timeline.layout.rows.filter((row) => tracks.includes(row.track));
    if (!rows.length) return shared.allLanes(timeline);
    const lastRow = rows[rows.length - 1];
    const names = tracks.map((track) => track.title);
    return {
      lanes: tracks.flatMap(shared.lanesOfTrack).sort((a, b) => a - b),
      tracks: tracks.map((track) => track.number),
      words: names.length < 4 ? names.join(", ") : `${names.length} tracks`,
      top: rows[0].y,
      bottom: lastRow.y + lastRow.h,
    };
  };

  async function click(timeline, { x, y }) {
    const { layout, size, view } = timeline;
    timeline.panelTurn++;
    const turn = timeline.panelTurn;
    timeline.selection = null;
    const row = shared.rowAt(layout, y - size.ruler + view.scroll);
    let event = null;
    if (row) {
      try {
        event = await eventNear(timeline, row.lane, x);
      } catch (error) {
        shared.showText(timeline, `Could not load the event: ${error.message}`);
        return;
      }
      if (turn !== timeline.panelTurn) return;
    }
    if (event && event.absent) {
      timeline.chosen = null;
      shared.showText(timeline, event.absent);
      timeline.requestFrame();
      return;
    }
    timeline.chosen = event;
    if (event) shared.showEvent(timeline, event);
    else shared.showLegend(timeline);
    timeline.updateAddress();
    timeline.requestFrame();
  }

  // The event at a pixel, or up to two pixels away from it.
  async function eventNear(timeline, lane, x) {
    const { size, source, view } = timeline;
    const tolerance = ((view.to - view.from) / size.plot) * 2;
    const time = shared.timeAt(timeline, x);
    for (const offset of [0, -tolerance, tolerance]) {
      const event = await source.event(lane, Math.round(time + offset));
      if (event) return event;
    }
    return null;
  }

  // Pins the track whose name is at this height, or puts it back to its place.
  function togglePinned(timeline, y) {
    const { layout, size, view } = timeline;
    const contentY = y - size.ruler + view.scroll;
    const [row] = shared.visibleRows(layout, contentY - 1, contentY + 1);
    if (!row) return;
    toggleMember(timeline.pinnedTracks, row.track.number);
    timeline.relayout();
    timeline.updateAddress();
  }

  // Collapses or expands the group or the track whose name is at this height.
  function toggleCollapsed(timeline, y) {
    const { layout, size, view } = timeline;
    const contentY = y - size.ruler + view.scroll;
    const head = layout.heads.find(
      (candidate) => contentY >= candidate.y && contentY < candidate.y + candidate.h,
    );
    if (head) {
      toggleMember(timeline.collapsedGroups, head.group);
    } else {
      const [row] = shared.visibleRows(layout, contentY - 1, contentY + 1);
      if (!row || row.track.rows < 2) return;
      toggleMember(timeline.collapsedTracks, row.track.number);
    }
    timeline.relayout();
  }

  function toggleMember(set, member) {
    if (!set.delete(member)) set.add(member);
  }

  // Moves the view on the strip; with Shift, or where the view is the whole run, selects a new one.
  function dragStrip(timeline, event) {
    const { view } = timeline;
    const box = timeline.stripCanvas.getBoundingClientRect();
    const startX = event.clientX - box.left;
    const time = shared.stripTimeAt(timeline, startX);
    const span = view.to - view.from;
    const isInView = time >= view.from && time <= view.to && !timeline.showsWholeRun();
    const grabOffset = isInView ? time - view.from : span / 2;
    const selects = event.shiftKey || timeline.showsWholeRun();
    const moveTo = (from) => timeline.setView(from, from + span);
    if (!selects) moveTo(time - grabOffset);
    drag(timeline, event, (move) => {
      const x = move.clientX - box.left;
      const pointerTime = shared.stripTimeAt(timeline, x);
      if (!selects) {
        moveTo(pointerTime - grabOffset);
      } else if (Math.abs(x - startX) > CLICK_RADIUS) {
        timeline.setView(Math.min(time, pointerTime), Math.max(time, pointerTime));
      }
    });
  }

  function dragScrollbar(timeline, event) {
    const { layout, size, view } = timeline;
    const startY = event.clientY;
    const startScroll = view.scroll;
    const scale = layout.height / (size.height - size.ruler);
    drag(timeline, event, (move) => {
      timeline.scrollTo(startScroll + (move.clientY - startY) * scale);
    });
  }

  // Letters work everywhere on the page, except in input fields.
  function onKey(timeline, event) {
    const hasModifier = event.ctrlKey || event.metaKey || event.altKey;
    if (hasModifier || !timeline.element.isConnected) return;
    const fields = "input, textarea, select, [contenteditable]";
    const isTyping = event.target.closest && event.target.closest(fields);
    if (isTyping) {
      if (event.target === timeline.searchField) onSearchKey(timeline, event);
      return;
    }
    const hasFocus = timeline.element.contains(document.activeElement);
    const keys = { ...letterKeys(timeline), ...(hasFocus ? focusKeys(timeline) : {}) };
    const action = keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!action) return;
    if (event.key === "/" || hasFocus) event.preventDefault();
    action();
  }

  function onSearchKey(timeline, event) {
    if (event.key === "Enter") {
      event.preventDefault();
      timeline.goToHit(event.shiftKey);
    }
    if (event.key === "Escape") {
      timeline.searchField.value = "";
      timeline.search("");
      timeline.canvas.focus({ preventScroll: true });
    }
  }

  function letterKeys(timeline) {
    const { pointer, size } = timeline;
    const anchor = pointer ? shared.timeAt(timeline, Math.max(pointer.x, size.gutter)) : undefined;
    return {
      w: () => shared.zoom(timeline, ZOOM_STEP, anchor),
      s: () => shared.zoom(timeline, 1 / ZOOM_STEP, anchor),
      a: () => shared.pan(timeline, -PAN_STEP),
      d: () => shared.pan(timeline, PAN_STEP),
      f: () => timeline.fit(),
      n: () => timeline.goToFinding(1),
      p: () => timeline.goToFinding(-1),
      "[": () => timeline.goToStep(-1),
      "]": () => timeline.goToStep(1),
      "/": () => timeline.searchField.focus(),
      Escape: () => timeline.clear(),
    };
  }

  function focusKeys(timeline) {
    const { meta, view } = timeline;
    return {
      ArrowLeft: () => shared.pan(timeline, -PAN_STEP),
      ArrowRight: () => shared.pan(timeline, PAN_STEP),
      "+": () => shared.zoom(timeline, ZOOM_STEP),
      "=": () => shared.zoom(timeline, ZOOM_STEP),
      "-": () => shared.zoom(timeline, 1 / ZOOM_STEP),
      ArrowUp: () => timeline.scrollTo(view.scroll - SCROLL_STEP),
      ArrowDown: () => timeline.scrollTo(view.scroll + SCROLL_STEP),
      Home: () => timeline.setView(...meta.span),
      Enter: () => timeline.selectView(),
    };
  }
})();
