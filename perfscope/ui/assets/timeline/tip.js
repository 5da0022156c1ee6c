"use strict";
// The tip at the pointer: the event under it, from the picture that is on the screen.
(() => {
  const shared = window.perfscopeTimeline;
  const MOST_CHARACTERS = 160;

  shared.showTip = (timeline, x, y) => {
    const { colors, meta, names, tip } = timeline;
    const event = eventAt(timeline, x, y);
    tip.hidden = !event;
    if (!event) return;
    const name = shared.shortName(names.text(event.code)).slice(0, MOST_CHARACTERS);
    const detail = `${timeText(event)}${meta.labels[colors[event.code]]}`;
    tip.replaceChildren(name, " ", shared.node("span", {}, detail));
    shared.placeTip(timeline, x, y);
  };

  function timeText({ duration, busy }) {
    if (duration) return `about ${shared.formatTime(duration)}, `;
    if (busy === undefined) return "";
    return `the longest here; ${shared.formatShare(busy)} busy, `;
  }

  shared.placeTip = ({ size, tip }, x, y) => {
    const lastLeft = size.width - tip.offsetWidth - 8;
    const below = y + 18;
    const above = y - tip.offsetHeight - 8;
    const fitsBelow = below + tip.offsetHeight <= size.height;
    tip.style.left = `${shared.clamp(x + 14, 4, Math.max(lastLeft, 4))}px`;
    tip.style.top = `${fitsBelow ? below : above}px`;
  };

  // {code, duration} of a single event, {code, busy} of the main one among many, or null.
  function eventAt(timeline, x, y) {
    const { layout, picture, size, view } = timeline;
    const row = shared.rowAt(layout, y - size.ruler + view.scroll);
    if (!picture || picture.layout !== layout || !row || x < size.gutter) return null;
    const { tile } = picture;
    const lane = tile.lanes.get(row.lane);
    const nsPerPixel = (picture.to - picture.from) / tile.pixels;
    const pixel = (shared.timeAt(timeline, x) - picture.from) / nsPerPixel;
    if (!lane || pixel < 0 || pixel >= tile.pixels) return null;
    if (!lane.x) return mainEvent(lane, Math.floor(pixel));
    const nearest = nearestEvent(lane, pixel, (2 * tile.pixels) / size.plot);
    if (nearest < 0) return null;
    const left = lane.x[nearest];
    const width = lane.w[nearest];
    const isCut = left <= 0 || left + width >= tile.pixels - 0.2;
    return { code: lane.code[nearest], duration: isCut ? 0 : width * nsPerPixel };
  }

  function mainEvent(lane, pixel) {
    if (!lane.busy[pixel]) return null;
    return { code: lane.code[pixel], busy: lane.busy[pixel] / 255 };
  }

  // The event under the pixel or the nearest within `tolerance` pixels; -1 for none.
  function nearestEvent({ x, w }, pixel, tolerance) {
    let nearest = -1;
    let distance = tolerance;
    for (let i = 0; i < x.length; i++) {
      const gap = Math.max(x[i] - pixel, pixel - x[i] - w[i], 0);
      if (gap < distance || (gap === 0 && distance === 0)) {
        distance = gap;
        nearest = i;
      }
    }
    return nearest;
  }
})();
