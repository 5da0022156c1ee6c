// Shared by the report and the dashboard: a figure in the colours of the page's theme.
const pen = document.createElement("canvas").getContext("2d");

// What of a frame's name fits: all of it, without the folder, the function alone, nothing.
function fitting(label, room) {
  const bare = label.replace(/\((?:[^()]*\/)?([^()\/]*)\)$/, "($1)");
  const forms = [label, bare, label.replace(/ \([^()]*\)$/, "")];
  const plain = (text) => text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
  return forms.find((text) => pen.measureText(plain(text)).width + 12 < room) || "";
}

function labelled(trace, width, level) {
  pen.font = "11px Inter, system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";
  const tops = trace.values
    .filter((_, at) => trace.parents[at] === "")
    .reduce((sum, value) => sum + value, 0);
  const whole = level ? trace.values[trace.ids.indexOf(level)] : tops;
  return trace.labels.map((label, at) =>
    fitting(label, Math.min(1, trace.values[at] / whole) * width),
  );
}

function repainted(figure, palette, width) {
  const copy = JSON.parse(JSON.stringify(figure));
  for (const trace of copy.data) {
    if (trace.type === "icicle") trace.text = labelled(trace, width, "");
    const category = trace.meta && trace.meta.category;
    const colour = palette[category];
    if (!colour) continue;
    if (trace.marker) trace.marker.color = colour;
    if (trace.line) trace.line.color = colour;
    if (trace.text && category.startsWith("step_"))
      trace.textfont = { size: 10, color: palette.muted };
  }
  const layout = copy.layout;
  layout.font.color = palette.muted;
  layout.hoverlabel = Object.assign({}, layout.hoverlabel, {
    bgcolor: palette.surface,
    bordercolor: palette.line,
    font: { color: palette.text },
  });
  for (const name of Object.keys(layout).filter((one) => /^[xy]axis/.test(one))) {
    layout[name].gridcolor = layout[name].linecolor = layout[name].tickcolor = palette.line;
  }
  for (const shape of layout.shapes || []) if (shape.line) shape.line.color = palette.muted;
  return copy;
}
