// The chart of steps, in the report and in the dashboard: stacked columns, median and 95th
// percentile, the step under the pointer, and a selection of steps. An element of the class
// step-chart is drawn whenever a page adds it, from the data that it holds.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const HEIGHT = 210;
  const TOP = 12;
  const LEFT = 58;
  const RIGHT = 112;
  const BOTTOM = 26;
  const DRAG_PX = 5;

  function svg(name, attributes, parent) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (parent) parent.append(made);
    return made;
  }

  function amount(value) {
    if (value >= 1000) return `${Number((value / 1000).toPrecision(3))} s`;
    if (value >= 0.1) return `${Number(value.toPrecision(3))} ms`;
    return `${Number((value * 1000).toPrecision(3))} µs`;
  }

  // The top of the axis: the 99th percentile with some room, so that one outlier hides nothing.
  function axisTop(columns) {
    const sorted = columns.map((column) => column.mean).sort((a, b) => a - b);
    const usual = sorted[Math.floor(0.99 * (sorted.length - 1))];
    return 1.15 * Math.min(sorted[sorted.length - 1], 2 * usual);
  }

  function roundStep(top, parts) {
    const rough = top / parts;
    const power = 10 ** Math.floor(Math.log10(rough));
    return power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  }

  function draw(chart) {
    const { element, data } = chart;
    const width = Math.max(element.clientWidth, 320);
    const { columns, categories } = data;
    const top = axisTop(columns);
    const x = (index) => LEFT + ((width - LEFT - RIGHT) * index) / columns.length;
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.min(value / top, 1));
    Object.assign(chart, { width, x, y });
    chart.svg?.remove();
    chart.svg = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
    element.prepend(chart.svg);
    drawAxis(chart, top);
    const gap = (x(1) - x(0)) * (columns.length > 120 ? 0.06 : 0.14);
    const box = (index, low, high) => {
      const [left, right] = [x(index) + gap / 2, x(index + 1) - gap / 2];
      return `M${left} ${y(low)}H${right}V${y(high)}H${left}Z`;
    };
    drawCategories(chart, categories, box);
    const leftOut = columns.map((column, at) => (column.left_out ? box(at, 0, column.mean) : ""));
    svg("path", { d: leftOut.join(""), class: "left-out" }, chart.svg);
    const outliers = columns.map((column, at) =>
      column.outlier ? box(at, 0, column.slowest) : "",
    );
    svg("path", { d: outliers.join(""), class: "outlier" }, chart.svg);
    drawLevels(chart);
    const frame = { y: TOP, height: HEIGHT - TOP - BOTTOM };
    chart.mark = svg("rect", { class: "pointed", ...frame }, chart.svg);
    chart.selected = svg("rect", { class: "selected", ...frame }, chart.svg);
  }

  function drawCategories({ data, svg: parent }, categories, box) {
    const base = data.columns.map(() => 0);
    categories.forEach(({ id, texture }, number) => {
      const path = data.columns.map((column, at) => {
        const part = column.parts[number];
        if (!part) return "";
        base[at] += part;
        return box(at, base[at] - part, base[at]);
      });
      const d = path.join("");
      svg("path", { d, style: `fill:var(--${id})`, "data-category": id }, parent);
      if (texture) svg("path", { d, style: `fill:url(#steps-${texture})` }, parent);
    });
  }

  function drawAxis({ svg: parent, data, width, x, y }, top) {
    const step = roundStep(top, 4);
    for (let value = 0; value <= top; value += step) {
      svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }, parent);
      const label = svg("text", { x: LEFT - 8, y: y(value) + 4, class: "end" }, parent);
      label.textContent = value ? amount(value) : "0";
    }
    const { columns } = data;
    const every = Math.max(1, Math.ceil(columns.length / Math.floor((width - LEFT - RIGHT) / 64)));
    for (let at = 0; at < columns.length; at += every) {
      const middle = (x(at) + x(at + 1)) / 2;
      const label = svg("text", { x: middle, y: HEIGHT - 8, class: "middle" }, parent);
      label.textContent = columns[at].first;
    }
    const unit = svg("text", { x: width - RIGHT + 8, y: HEIGHT - 8 }, parent);
    unit.textContent = "step";
    const textures = svg("defs", {}, parent);
    textures.innerHTML =
      '<pattern id="steps-wait" width="6" height="6" patternUnits="userSpaceOnUse">' +
      '<path d="M-1 7L7 -1M-1 1L1 -1M5 7L7 5" class="stripe"/></pattern>' +
      '<pattern id="steps-undivided" width="6" height="6" patternUnits="userSpaceOnUse">' +
      '<circle cx="3" cy="3" r="1" class="spot"/></pattern>';
  }

  // Lines that are close to each other share a label.
  function drawLevels({ svg: parent, data, width, y }) {
    const levels = [
      [data.p95_ms, "p95"],
      [data.p50_ms, "median"],
    ].filter(([value]) => value);
    let last = -Infinity;
    for (const [value, name] of levels) {
      const line = { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "level" };
      svg("line", line, parent);
      const place = Math.max(y(value) + 4, last + 13);
      const label = svg("text", { x: width - RIGHT + 8, y: place }, parent);
      label.textContent = `${name} ${amount(value)}`;
      last = place;
    }
  }

  function columnAt(chart, event) {
    const box = chart.svg.getBoundingClientRect();
    const at = ((event.clientX - box.left) * chart.width) / box.width;
    const count = chart.data.columns.length;
    const index = Math.floor(((at - LEFT) / (chart.width - LEFT - RIGHT)) * count);
    return Math.min(Math.max(index, 0), count - 1);
  }

  function stepName({ first, last }) {
    return first === last ? `step ${first}` : `steps ${first} to ${last}`;
  }

  function describe(chart, index) {
    const column = chart.data.columns[index];
    const parts = chart.data.categories
      .map(({ label }, number) => [label, column.parts[number]])
      .filter(([, part]) => part > 0.005 * column.mean)
      .map(([label, part]) => `${label} ${amount(part)}`);
    const isMean = column.slowest > 1.02 * column.mean;
    const slowest = isMean ? `, slowest ${amount(column.slowest)}` : "";
    const why = column.left_out ? `, ${column.left_out}` : "";
    return `${stepName(column)}: ${amount(column.mean)}${slowest}${why}. ${parts.join(", ")}`;
  }

  function point(chart, index) {
    chart.pointed = index;
    chart.mark.setAttribute("x", chart.x(index));
    chart.mark.setAttribute("width", chart.x(1) - chart.x(0));
    chart.words.textContent = describe(chart, index);
  }

  function show({ from, to }) {
    document.dispatchEvent(new CustomEvent("steps:show", { detail: { from, to } }));
  }

  function select(chart, first, last) {
    const [low, high] = first < last ? [first, last] : [last, first];
    chart.selected.setAttribute("x", chart.x(low));
    chart.selected.setAttribute("width", chart.x(high + 1) - chart.x(low));
    chart.selection = [low, high];
    const chosen = chart.data.columns.slice(low, high + 1);
    const counts = chosen.map((column) => column.last - column.first + 1);
    const steps = counts.reduce((sum, count) => sum + count, 0);
    const total = chosen.reduce((sum, column, at) => sum + column.mean * counts[at], 0);
    const range = { first: chosen[0].first, last: chosen[chosen.length - 1].last };
    const link = document.createElement("a");
    link.href = "#section-timeline";
    link.textContent = "show them on the timeline";
    link.onclick = (event) => {
      event.preventDefault();
      show({ from: chosen[0].from, to: chosen[chosen.length - 1].to });
    };
    const words = `Selected: ${stepName(range)}, ${steps} steps, mean ${amount(total / steps)}; `;
    chart.words.replaceChildren(words, link);
  }

  function listen(chart) {
    const { element } = chart;
    let begun = null;
    element.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && event.target.closest("svg"))
        begun = { index: columnAt(chart, event), left: event.clientX, isDrag: false };
    });
    element.addEventListener("pointermove", (event) => {
      if (!event.target.closest("svg")) return;
      if (begun && Math.abs(event.clientX - begun.left) > DRAG_PX) begun.isDrag = true;
      if (begun?.isDrag) select(chart, begun.index, columnAt(chart, event));
      else if (!chart.selection) point(chart, columnAt(chart, event));
    });
    element.addEventListener("pointerup", () => {
      if (!begun) return;
      const { index, isDrag } = begun;
      begun = null;
      if (isDrag) return;
      if (chart.selection) clearSelection(chart);
      else show(chart.data.columns[index]);
    });
    element.addEventListener("keydown", (event) => {
      const last = chart.data.columns.length - 1;
      const now = chart.pointed ?? -1;
      if (event.key === "ArrowRight") point(chart, Math.min(now + 1, last));
      else if (event.key === "ArrowLeft") point(chart, Math.max(now - 1, 0));
      else if (event.key === "Enter" && now >= 0) show(chart.data.columns[now]);
      else if (event.key === "Escape") clearSelection(chart);
      else return;
      event.preventDefault();
    });
  }

  function clearSelection(chart) {
    chart.selection = null;
    chart.selected.setAttribute("width", 0);
    chart.words.textContent = "";
  }

  function mount(element) {
    const words = document.createElement("p");
    words.className = "step-words";
    words.setAttribute("aria-live", "polite");
    element.append(words);
    const chart = { element, words, data: JSON.parse(element.dataset.steps), selection: null };
    element.dataset.drawn = "yes";
    draw(chart);
    listen(chart);
    const fit = () => {
      if (element.isConnected && Math.abs(element.clientWidth - chart.width) > 1) draw(chart);
    };
    new ResizeObserver(fit).observe(element);
    addEventListener("beforeprint", fit);
  }

  function mountNew() {
    document.querySelectorAll(".step-chart:not([data-drawn])").forEach(mount);
  }

  new MutationObserver(mountNew).observe(document.documentElement, {
    childList: true,
    subtree: true,
  });
  if (document.body) mountNew();
})();
