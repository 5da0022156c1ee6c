"use strict";
// The strip above the lanes: the time budget of the whole run, with the view on it.
(() => {
  const shared = window.perfscopeTimeline;
  const FONT = "11px Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  const RIGHT_MARGIN = 3;
  const BASELINE = 5; // above the bottom
  const TOP_MARGIN = 10;

  shared.stripXOf = ({ meta, size }, ns) => {
    const [begin, end] = meta.span;
    return size.gutter + ((ns - begin) / (end - begin)) * (size.plot - RIGHT_MARGIN);
  };

  shared.stripTimeAt = ({ meta, size }, x) => {
    const [begin, end] = meta.span;
    return begin + ((x - size.gutter) / (size.plot - RIGHT_MARGIN)) * (end - begin);
  };

  shared.drawStrip = (timeline) => {
    const { stripPen: pen, size, theme, stripHeight: height, view } = timeline;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.drawImage(stripBackground(timeline), 0, 0);
    pen.setTransform(size.dpr, 0, 0, size.dpr, 0, 0);
    const left = shared.stripXOf(timeline, view.from);
    const right = Math.max(shared.stripXOf(timeline, view.to), left + 3);
    pen.fillStyle = pen.strokeStyle = theme.accent;
    pen.globalAlpha = 0.08;
    pen.fillRect(left, 1, right - left, height - 2);
    pen.globalAlpha = 1;
    pen.lineWidth = 1.5;
    pen.strokeRect(left + 0.75, 1.25, Math.max(right - left - 1.5, 1.5), height - 2.5);
  };

  // Everything but the view, which is drawn again only after it has changed.
  function stripBackground(timeline) {
    const state = [timeline.strip, timeline.density, timeline.theme, timeline.size];
    const drawn = timeline.stripBackground;
    if (drawn && state.every((value, index) => value === drawn.state[index])) return drawn.image;
    const image = drawBackground(timeline);
    timeline.stripBackground = { state, image };
    return image;
  }

  function drawBackground(timeline) {
    const { meta, size, stripCanvas, stripHeight: height, theme } = timeline;
    const image = document.createElement("canvas");
    image.width = stripCanvas.width;
    image.height = stripCanvas.height;
    const pen = image.getContext("2d", { alpha: false });
    pen.setTransform(size.dpr, 0, 0, size.dpr, 0, 0);
    pen.fillStyle = theme.surface;
    pen.fillRect(0, 0, size.width, height);
    pen.font = FONT;
    pen.textBaseline = "middle";
    pen.fillStyle = theme.muted;
    pen.fillText("whole run", 14, height / 2 - 7);
    const [begin, end] = meta.span;
    pen.fillText(shared.formatTime(end - begin), 14, height / 2 + 8);
    const baseline = height - BASELINE;
    if (timeline.strip) drawShares(timeline, pen, baseline, height - TOP_MARGIN);
    if (timeline.density) drawHitDensity(timeline, pen, baseline);
    for (const mark of meta.marks) {
      pen.fillStyle = shared.markColor(timeline, mark);
      const left = shared.stripXOf(timeline, mark.from);
      const width = shared.stripXOf(timeline, mark.to) - left;
      pen.fillRect(left, 0, Math.max(width, 2), 3);
    }
    return image;
  }

  // Stacked columns: the share of each category.
  function drawShares({ meta, size, strip, theme }, pen, baseline, fullHeight) {
    const categories = Object.keys(strip);
    const columns = categories.length ? strip[categories[0]].length : 0;
    const width = (size.plot - RIGHT_MARGIN) / Math.max(columns, 1);
    const stacked = new Float32Array(columns);
    for (const category of categories) {
      pen.fillStyle = theme.css[meta.colors.indexOf(category)];
      const shares = strip[category];
      for (let column = 0; column < columns; column++) {
        if (shares[column] <= 0) continue;
        const height = shares[column] * fullHeight;
        const left = size.gutter + column * width;
        const top = baseline - stacked[column] - height;
        pen.fillRect(left, top, Math.max(width, 1), height);
        stacked[column] += height;
      }
    }
  }

  function drawHitDensity({ density, size, theme }, pen, baseline) {
    const most = Math.max(...density, 1);
    const width = (size.plot - RIGHT_MARGIN) / density.length;
    pen.fillStyle = theme.text;
    density.forEach((count, column) => {
      if (!count) return;
      const left = size.gutter + column * width;
      pen.fillRect(left, baseline, Math.max(width, 1.5), 2 + (3 * count) / most);
    });
  }
})();
