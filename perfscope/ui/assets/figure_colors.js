// Shared by the report and the dashboard: a figure in the colors of the page's theme.
const labelPen = document.createElement("canvas").getContext("2d");
const LABEL_FONT = "11px Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

function withoutEntities(text) {
  return text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
}

// The longest form of a frame's label that fits: with the file's path, with its name, the function.
function fittedFrameLabel(label, room) {
  const withFileName = label.replace(/\((?:[^()]*\/)?([^()\/]*)\)$/, "($1)");
  const functionOnly = label.replace(/ \([^()]*\)$/, "");
  const fits = (text) => labelPen.measureText(withoutEntities(text)).width + 12 < room;
  return [label, withFileName, functionOnly].find(fits) || "";
}

// The labels of an icicle chart of this width that shows `level`, or all levels.
function frameLabels(trace, width, level) {
  labelPen.font = LABEL_FONT;
  const shown = level ? trace.values[trace.ids.indexOf(level)] : sumOfRoots(trace);
  return trace.labels.map((label, index) => {
    const share = Math.min(1, trace.values[index] / shown);
    return fittedFrameLabel(label, share * width);
  });
}

function sumOfRoots(trace) {
  const roots = trace.values.filter((_, index) => trace.parents[index] === "");
  return roots.reduce((sum, value) => sum + value, 0);
}

function figureInPalette(figure, palette, width) {
  const copy = JSON.parse(JSON.stringify(figure));
  for (const trace of copy.data) colorTrace(trace, palette, width);
  const { layout } = copy;
  layout.font.color = palette.muted;
  layout.hoverlabel = {
    ...layout.hoverlabel,
    bgcolor: palette.surface,
    bordercolor: palette.line,
    font: { color: palette.text },
  };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    const axis = layout[name];
    axis.gridcolor = axis.linecolor = axis.tickcolor = palette.line;
  }
  for (const shape of layout.shapes || []) {
    if (shape.line) shape.line.color = palette.muted;
  }
  return copy;
}

function colorTrace(trace, palette, width) {
  if (trace.type === "icicle") trace.text = frameLabels(trace, width, "");
  const category = trace.meta && trace.meta.category;
  const color = palette[category];
  if (!color) return;
  if (trace.marker) trace.marker.color = color;
  if (trace.line) trace.line.color = color;
  if (trace.text && category.startsWith("step_")) {
    trace.textfont = { size: 10, color: palette.muted };
  }
}
