// Charts of lines and bars in the dashboard, drawn from the figures that the report gives to
// Plotly, whose script occupies the main thread for a second. An element of the class plain-figure
// is drawn when a page adds it and when its figure changes. Charts with the same time axis share
// a cursor and a zoom: drag to zoom in, double-click to zoom out.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const LEGEND_ROW = 20;
  const DRAG_PX = 5;
  const charts = new Map();
  let mounted = 0;
  const pen = document.createElement("canvas").getContext("2d");

  function svg(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (parent) parent.append(made);
    return made;
  }

  function label(text, attributes, parent) {
    svg("text", attributes, parent).textContent = text;
  }

  function colorOf(trace) {
    const category = trace.meta?.category;
    if (category) return `var(--${category.replaceAll("_", "-")})`;
    return trace.fillcolor || trace.line?.color || trace.marker?.color;
  }

  function shortNumber(value) {
    return Number(value.toPrecision(4)).toLocaleString("en-US", { maximumFractionDigits: 6 });
  }

  function roundStep(span, parts) {
    const rough = span / parts;
    const power = 10 ** Math.floor(Math.log10(rough));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  }

  function ticksBetween([low, high], parts, least = 0) {
    const step = Math.max(roundStep(high - low || 1, parts), least);
    const first = Math.ceil(low / step - 1e-9);
    const count = Math.floor(high / step + 1e-9) - first + 1;
    return Array.from({ length: Math.max(count, 0) }, (_, at) => (first + at) * step);
  }

  const isBar = (trace) => trace.type === "bar";
  const isRow = (trace) => isBar(trace) && trace.orientation === "h";

  // The range of the horizontal axis: that of the figure, or else of its points.
  function fullRange({ data, layout }) {
    if (layout.xaxis.range) return layout.xaxis.range;
    if (data.every(isRow)) {
      const sums = {};
      for (const { x, y } of data) y.forEach((row, at) => (sums[row] = (sums[row] || 0) + x[at]));
      return [0, Math.max(...Object.values(sums), 1e-9)];
    }
    const values = data.flatMap((trace) => trace.x);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const room = data.some(isBar) ? 0.6 : 0.03 * (high - low || 1);
    return [low - room, high + room];
  }

  function verticalAxes({ layout }) {
    return Object.keys(layout).filter((name) => /^yaxis\d*$/.test(name));
  }

  function scalesOf(chart) {
    const { figure, box, view } = chart;
    const x = (value) =>
      box.left + ((box.right - box.left) * (value - view[0])) / (view[1] - view[0]);
    const y = {};
    const paper = (share) => box.bottom - (box.bottom - box.top) * share;
    for (const name of verticalAxes(figure)) {
      const { range = [0, 1], domain = [0, 1] } = figure.layout[name];
      const [low, high] = domain.map(paper);
      y[name.replace("axis", "")] = (value) =>
        low + ((high - low) * (value - range[0])) / (range[1] - range[0]);
    }
    Object.assign(chart, { x, y, paper });
  }

  function draw(chart) {
    const { element, figure } = chart;
    const { height, margin } = figure.layout;
    const width = Math.max(element.clientWidth, 280);
    chart.svg?.remove();
    chart.svg = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height });
    chart.svg.setAttribute("aria-hidden", "true");
    element.prepend(chart.svg);
    const used = drawLegend(chart, margin.l, width);
    const top = Math.max(margin.t - (used ? 22 : 0), 8) + used;
    chart.width = width;
    chart.box = { left: margin.l, right: width - margin.r, top, bottom: height - margin.b };
    scalesOf(chart);
    drawVerticalAxes(chart);
    drawHorizontalAxis(chart);
    const clip = svg("clipPath", { id: `clip-${chart.number}` }, chart.svg);
    const { box } = chart;
    const size = { width: box.right - box.left, height: box.bottom - box.top + 6 };
    svg("rect", { x: box.left, y: box.top - 3, ...size }, clip);
    chart.plot = svg("g", { "clip-path": `url(#${clip.id})` }, chart.svg);
    for (const shape of figure.layout.shapes || []) drawShape(chart, shape);
    const sums = {};
    for (const trace of figure.data) {
      if (trace.base) drawSpans(chart, trace);
      else if (isRow(trace)) drawRows(chart, trace, sums);
      else if (isBar(trace)) drawColumns(chart, trace);
      else drawLine(chart, trace);
    }
    for (const note of figure.layout.annotations || []) drawNote(chart, note);
    chart.cursor = svg("line", { class: "cursor", y1: box.top, y2: box.bottom }, chart.plot);
    chart.chosen = svg("rect", { class: "chosen", y: box.top, height: size.height }, chart.plot);
  }

  // Returns the height that the legend takes.
  function drawLegend({ svg: parent, figure }, left, width) {
    if (!figure.layout.showlegend) return 0;
    const named = figure.data.filter((trace) => trace.showlegend !== false && trace.name);
    pen.font = "12px Inter, system-ui, sans-serif";
    let [x, row] = [left, 0];
    for (const trace of named) {
      const room = 20 + pen.measureText(trace.name).width;
      if (x > left && x + room > width) [x, row] = [left, row + 1];
      const y = 3 + row * LEGEND_ROW;
      const style = `fill:${colorOf(trace)}`;
      svg("rect", { x, y: y + 1, width: 10, height: 10, rx: 3, style }, parent);
      label(trace.name, { x: x + 16, y: y + 10 }, parent);
      x += room + 18;
    }
    return named.length ? (row + 1) * LEGEND_ROW : 0;
  }

  function titleOf(axis) {
    return axis.title?.text || "";
  }

  function drawVerticalAxes({ svg: parent, figure, box, y, paper }) {
    for (const name of verticalAxes(figure)) {
      const axis = figure.layout[name];
      if (axis.visible === false) continue;
      const scale = y[name.replace("axis", "")];
      if (axis.categoryarray) {
        axis.categoryarray.forEach((text, at, all) => {
          const middle = paper((at + 0.5) / all.length);
          label(text, { x: box.left - 10, y: middle + 4, class: "end" }, parent);
        });
        continue;
      }
      const least = axis.tickformat === "d" ? 1 : 0;
      for (const value of ticksBetween(axis.range || [0, 1], axis.nticks || 5, least)) {
        const at = scale(value);
        svg("line", { x1: box.left, x2: box.right, y1: at, y2: at }, parent);
        label(shortNumber(value), { x: box.left - 8, y: at + 4, class: "end" }, parent);
      }
      const [low, high] = axis.domain || [0, 1];
      const middle = paper((low + high) / 2);
      const turned = { x: 0, y: 0, class: "middle" };
      turned.transform = `translate(12 ${middle}) rotate(-90)`;
      label(titleOf(axis), turned, parent);
    }
  }

  function drawHorizontalAxis({ svg: parent, figure, box, view, x }) {
    const { xaxis } = figure.layout;
    if (xaxis.visible === false) return;
    const isWhole = xaxis.tickformat === "d";
    const parts = Math.max(Math.floor((box.right - box.left) / 80), 2);
    for (const value of ticksBetween(view, parts, isWhole ? 1 : 0)) {
      const at = x(value);
      svg("line", { x1: at, x2: at, y1: box.bottom, y2: box.bottom + 4 }, parent);
      const text = shortNumber(value) + (xaxis.ticksuffix || "");
      label(text, { x: at, y: box.bottom + 16, class: "middle" }, parent);
    }
    svg("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }, parent);
    const middle = (box.left + box.right) / 2;
    label(titleOf(xaxis), { x: middle, y: box.bottom + 34, class: "middle" }, parent);
  }

  const isShare = (reference) => reference === "paper" || reference?.endsWith(" domain");

  function placeAcross({ box, x }, value, reference) {
    return isShare(reference) ? box.left + (box.right - box.left) * value : x(value);
  }

  function placeDown({ y, paper }, value, reference) {
    return isShare(reference) ? paper(value) : y[reference || "y"](value);
  }

  function drawShape(chart, shape) {
    const [x1, x2] = [shape.x0, shape.x1].map((at) => placeAcross(chart, at, shape.xref));
    const [y1, y2] = [shape.y0, shape.y1].map((at) => placeDown(chart, at, shape.yref));
    if (shape.type === "rect") {
      const size = { x: x1, y: y2, width: Math.max(x2 - x1, 1), height: y1 - y2 };
      const style = `fill:${shape.fillcolor};opacity:${shape.opacity ?? 1}`;
      svg("rect", { ...size, style }, chart.plot);
      return;
    }
    const dashes = { dash: "6 4", dot: "2 3" }[shape.line?.dash] || "none";
    const style = `opacity:${shape.opacity ?? 1};stroke-dasharray:${dashes}`;
    svg("line", { x1, x2, y1, y2, class: "limit", style }, chart.plot);
  }

  function drawNote(chart, note) {
    const x = placeAcross(chart, note.x, note.xref);
    const y = placeDown(chart, note.y, note.yref) - 5;
    label(note.text, { x, y, class: note.xanchor === "right" ? "end" : "" }, chart.svg);
  }

  function drawLine(chart, trace) {
    const { x } = chart;
    const y = chart.y[trace.yaxis || "y"];
    const color = colorOf(trace);
    if (trace.line?.shape === "spline") {
      drawArc(chart, trace);
      return;
    }
    if ((trace.mode || "lines").includes("lines")) {
      const isStep = trace.line?.shape === "hv";
      let isOpen = false;
      const path = trace.x.map((value, at) => {
        const level = trace.y[at];
        const [was, is] = [isOpen, level !== null && level !== undefined];
        isOpen = is;
        if (!is) return "";
        const place = `${x(value).toFixed(1)} ${y(level).toFixed(1)}`;
        if (!was) return `M${place}`;
        return isStep ? `H${x(value).toFixed(1)}V${y(level).toFixed(1)}` : `L${place}`;
      });
      const fill = trace.fill ? color : "none";
      const { width = 1.6, dash } = trace.line || {};
      const dashes = { dash: "6 4", dot: "2 3", dashdot: "6 3 2 3" }[dash] || "none";
      const stroke = width ? color : "none";
      const line = `stroke:${stroke};stroke-width:${width};stroke-dasharray:${dashes}`;
      const style = `fill:${fill};${line}`;
      svg("path", { d: path.join(""), style, "data-name": trace.name || "" }, chart.plot);
    }
    if ((trace.mode || "").includes("text")) drawNodes(chart, trace);
    else if ((trace.mode || "").includes("markers")) drawMarkers(chart, trace, y);
  }

  // A link between two ends, bent through the point between them.
  function drawArc({ plot, x, y }, trace) {
    const [left, middle, right] = trace.x.map((value) => x(value));
    const [begin, top, end] = trace.y.map((value) => y.y(value));
    const bend = `Q${2 * middle - (left + right) / 2} ${2 * top - (begin + end) / 2}`;
    const dashes = trace.line.dash === "dot" ? "2 3" : "none";
    const line = `stroke:${colorOf(trace)};stroke-width:${trace.line.width}`;
    const style = `fill:none;${line};stroke-dasharray:${dashes};opacity:${trace.opacity ?? 1}`;
    const path = svg("path", { d: `M${left} ${begin}${bend} ${right} ${end}`, style }, plot);
    svg("title", {}, path).textContent = trace.text[0];
  }

  // The ends of links: a mark with its name, and all that is known of it when pointed at.
  function drawNodes({ plot, x, y }, trace) {
    const radius = trace.marker.size / 2;
    const offset = trace.textposition.startsWith("top") ? -radius - 5 : radius + 13;
    const rx = trace.marker.symbol === "square" ? 2 : radius;
    const style = `fill:${colorOf(trace)}`;
    trace.x.forEach((value, at) => {
      const [left, top] = [x(value), y.y(trace.y[at])];
      const size = { x: left - radius, y: top - radius, width: 2 * radius, height: 2 * radius };
      const node = svg("rect", { ...size, rx, style }, plot);
      svg("title", {}, node).textContent = trace.customdata[at];
      label(trace.text[at], { x: left, y: top + offset, class: "middle" }, plot);
    });
  }

  function drawMarkers({ plot, x }, trace, y) {
    const { size = 5, symbol } = trace.marker;
    const path = trace.x.map((value, at) => {
      const radius = (Array.isArray(size) ? size[at] : size) / 2;
      const [left, top] = [x(value), y(trace.y[at])];
      if (symbol === "line-ns") return `M${left} ${top - 2 * radius}v${2 * radius}`;
      const corners = `l${radius} ${radius}l${-radius} ${radius}l${-radius} ${-radius}Z`;
      if (symbol === "diamond") return `M${left} ${top - radius}${corners}`;
      const arc = `a${radius} ${radius} 0 1 0`;
      return `M${left - radius} ${top}${arc} ${2 * radius} 0${arc} ${-2 * radius} 0`;
    });
    const color = colorOf(trace);
    const style = symbol === "line-ns" ? "stroke:var(--muted)" : `fill:${color}`;
    svg("path", { d: path.join(""), style, "data-name": trace.name || "" }, plot);
  }

  function drawColumns({ plot, figure, x, y }, trace) {
    const half = (1 - (figure.layout.bargap || 0)) / 2;
    const style = `fill:${colorOf(trace)}`;
    trace.x.forEach((value, at) => {
      const [left, right] = [x(value - half), x(value + half)];
      const size = { x: left, width: right - left, y: y.y(trace.y[at]) };
      svg("rect", { ...size, height: y.y(0) - size.y, style }, plot);
    });
  }

  function laneOf({ figure, paper }, row) {
    const rows = figure.layout.yaxis.categoryarray;
    const middle = (rows.indexOf(row) + 0.5) / rows.length;
    const half = 0.35 / rows.length;
    return [paper(middle + half), paper(middle - half)];
  }

  // Bars from `base` on, in the lanes of their rows; those of waits are hatched.
  function drawSpans(chart, trace) {
    const path = trace.base.map((begin, at) => {
      const [top, bottom] = laneOf(chart, trace.y[at]);
      const [left, right] = [chart.x(begin), chart.x(begin + trace.x[at])];
      const end = Math.max(right, left + 0.5).toFixed(1);
      return `M${left.toFixed(1)} ${top}H${end}V${bottom}H${left.toFixed(1)}Z`;
    });
    const d = path.join("");
    svg("path", { d, style: `fill:${colorOf(trace)}` }, chart.plot);
    if (!trace.marker.pattern?.shape) return;
    const id = `hatch-${chart.number}`;
    if (!chart.svg.querySelector(`#${id}`)) {
      const size = { id, width: 6, height: 6, patternUnits: "userSpaceOnUse" };
      const hatch = svg("pattern", size, chart.svg);
      svg("path", { d: "M-1 7L7 -1M-1 1L1 -1M5 7L7 5", class: "stripe" }, hatch);
    }
    svg("path", { d, style: `fill:url(#${id})` }, chart.plot);
  }

  // The bars of a chart of lanes at a place.
  function describeSpans(chart, value, down) {
    return chart.figure.data
      .filter((trace) => trace.base)
      .flatMap((trace) =>
        trace.base.flatMap((begin, at) => {
          const [top, bottom] = laneOf(chart, trace.y[at]);
          const isThere = down >= top && down <= bottom;
          if (!isThere || value < begin || value > begin + trace.x[at]) return [];
          return [`${trace.name}: ${shortNumber(trace.x[at] * 1000)} ms`];
        }),
      );
  }

  // Rows are stacked; `sums` has where each row ends.
  function drawRows(chart, trace, sums) {
    const rows = chart.figure.layout.yaxis.categoryarray;
    const half = (1 - (chart.figure.layout.bargap || 0)) / 2 / rows.length;
    trace.y.forEach((row, at) => {
      const begin = sums[row] || 0;
      sums[row] = begin + trace.x[at];
      const middle = (rows.indexOf(row) + 0.5) / rows.length;
      const [top, bottom] = [chart.paper(middle + half), chart.paper(middle - half)];
      const [x, end] = [chart.x(begin), chart.x(sums[row])];
      const style = `fill:${colorOf(trace)}`;
      const size = { x, y: top, width: Math.max(end - x, 0), height: bottom - top };
      const bar = svg("rect", { ...size, style, class: "bar-part" }, chart.plot);
      svg("title", {}, bar).textContent = trace.name;
    });
  }

  // The text of Plotly's template at a point, with the name of the trace in front.
  function describePoint(trace, at) {
    const values = { x: trace.x[at], y: trace.y[at] };
    const [text, extra = ""] = (trace.hovertemplate || "%{y}").split("<extra>");
    const filled = text.replace(/%\{([xy])(?::([^}]*))?\}/g, (_, name, format = "") => {
      const value = values[name];
      if (typeof value !== "number") return value;
      const digits = Number(/\.(\d)/.exec(format)?.[1] ?? 4);
      return format.endsWith("f") ? value.toFixed(digits) : shortNumber(value);
    });
    const name = extra.replace("</extra>", "");
    return name ? `${name}: ${filled.replace(/^.* s: /, "")}` : filled;
  }

  function nearest(values, wanted) {
    let [low, high] = [0, values.length - 1];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (values[middle] < wanted) low = middle;
      else high = middle;
    }
    return wanted - values[low] < values[high] - wanted ? low : high;
  }

  function linked(chart) {
    return [...charts.values()].filter(
      (other) => other.isTime && chart.isTime && other.full.join() === chart.full.join(),
    );
  }

  function point(chart, value, down) {
    for (const other of new Set([chart, ...linked(chart)])) {
      other.cursor.setAttribute("x1", other.x(value));
      other.cursor.setAttribute("x2", other.x(value));
      other.cursor.classList.add("shown");
    }
    const pointed = chart.figure.data.filter(
      (trace) => trace.hoverinfo !== "skip" && trace.x.length && !isRow(trace) && !trace.text,
    );
    const texts = pointed.map((trace) => describePoint(trace, nearest(trace.x, value)));
    texts.push(...describeSpans(chart, value, down));
    const time = chart.isTime ? [`${shortNumber(value)} s`] : [];
    chart.tip.replaceChildren(
      ...[...time, ...new Set(texts)].map((text) => {
        const line = document.createElement("div");
        line.textContent = text;
        return line;
      }),
    );
    chart.tip.hidden = !texts.length;
    const left = (chart.x(value) * chart.element.clientWidth) / chart.width;
    const isRight = left > chart.element.clientWidth / 2;
    chart.tip.style.left = isRight ? "" : `${left + 12}px`;
    chart.tip.style.right = isRight ? `${chart.element.clientWidth - left + 12}px` : "";
  }

  function leave(chart) {
    chart.tip.hidden = true;
    for (const other of charts.values()) other.cursor?.classList.remove("shown");
  }

  function valueAt(chart, event) {
    const bounds = chart.svg.getBoundingClientRect();
    const { box, view } = chart;
    const at = ((event.clientX - bounds.left) * chart.width) / bounds.width;
    const share = Math.min(Math.max((at - box.left) / (box.right - box.left), 0), 1);
    return view[0] + share * (view[1] - view[0]);
  }

  function zoom(chart, view) {
    for (const other of new Set([chart, ...linked(chart)])) {
      other.view = view;
      draw(other);
    }
  }

  function listen(chart) {
    const { element } = chart;
    let begun = null;
    element.addEventListener("pointerdown", (event) => {
      if (chart.isTime && event.button === 0)
        begun = { left: event.clientX, value: valueAt(chart, event) };
    });
    element.addEventListener("pointermove", (event) => {
      const value = valueAt(chart, event);
      const down = event.clientY - chart.svg.getBoundingClientRect().top;
      if (!begun || Math.abs(event.clientX - begun.left) < DRAG_PX) point(chart, value, down);
      else {
        const [low, high] = [begun.value, value].sort((a, b) => a - b);
        chart.chosen.setAttribute("x", chart.x(low));
        chart.chosen.setAttribute("width", chart.x(high) - chart.x(low));
      }
    });
    element.addEventListener("pointerup", (event) => {
      const range = begun && [begun.value, valueAt(chart, event)].sort((a, b) => a - b);
      const isDrag = begun && Math.abs(event.clientX - begun.left) >= DRAG_PX;
      begun = null;
      if (isDrag && range[1] > range[0]) zoom(chart, range);
    });
    element.addEventListener("pointerleave", () => leave(chart));
    element.addEventListener("dblclick", () => zoom(chart, chart.full));
  }

  function read(chart) {
    const isWhole = !chart.view || chart.view.join() === chart.full.join();
    chart.figure = JSON.parse(chart.element.dataset.figure);
    chart.full = fullRange(chart.figure);
    // What the viewer has zoomed to stays when the data change.
    if (isWhole) chart.view = chart.full;
    chart.isTime = Boolean(chart.figure.layout.xaxis.ticksuffix);
    draw(chart);
  }

  function mount(element) {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    element.append(tip);
    element.dataset.drawn = "yes";
    const chart = { element, tip, number: mounted++ };
    charts.set(element, chart);
    read(chart);
    listen(chart);
    new ResizeObserver(() => {
      if (element.isConnected && Math.abs(element.clientWidth - chart.width) > 1) draw(chart);
    }).observe(element);
  }

  function mountNew(changes) {
    for (const element of charts.keys()) if (!element.isConnected) charts.delete(element);
    document.querySelectorAll(".plain-figure:not([data-drawn])").forEach(mount);
    for (const { type, target } of changes) {
      if (type === "attributes" && charts.has(target)) read(charts.get(target));
    }
  }

  new MutationObserver(mountNew).observe(document.documentElement, {
    attributeFilter: ["data-figure"],
    childList: true,
    subtree: true,
  });
})();
