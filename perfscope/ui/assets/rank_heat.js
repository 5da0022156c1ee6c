// The picture of ranks over steps, in the report and in the dashboard: an element of the class
// rank-heat is drawn whenever a page adds it, from the data that it holds.
(() => {
  const LEFT = 64;
  const MOST_HEIGHT = 300;
  const ROW_HEIGHT = 16;
  const LABEL_ROOM = 13;
  const BOTTOM = 18;
  const TOP = 7;
  // Lower rows are marked next to them: a frame would cover them.
  const LEAST_FRAMED = 6;

  function colorOf(element, name) {
    const hex = getComputedStyle(element).getPropertyValue(name).trim();
    const digits = /^#(..)(..)(..)$/.exec(hex);
    return digits ? digits.slice(1).map((pair) => parseInt(pair, 16)) : [128, 128, 128];
  }

  function shade(low, high, level) {
    const share = (level - 1) / 254;
    const channels = low.map((value, at) => Math.round(value + (high[at] - value) * share));
    return `rgb(${channels.join(",")})`;
  }

  function fitCanvas(heat) {
    const { canvas, data, element } = heat;
    const rows = data.ranks.length;
    heat.width = Math.max(element.clientWidth, 240);
    heat.row = Math.min(ROW_HEIGHT, (MOST_HEIGHT - TOP - BOTTOM) / rows);
    heat.height = TOP + heat.row * rows + BOTTOM;
    heat.column = (heat.width - LEFT) / data.steps.length;
    const scale = Math.min(devicePixelRatio || 1, 2);
    canvas.width = heat.width * scale;
    canvas.height = heat.height * scale;
    canvas.style.width = `${heat.width}px`;
    canvas.style.height = `${heat.height}px`;
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    return pen;
  }

  function draw(heat) {
    const { data, cells, element } = heat;
    const pen = fitCanvas(heat);
    const [low, high] = [colorOf(element, "--line"), colorOf(element, "--peer-wait-heat")];
    const gap = heat.column > 4 ? 1 : 0;
    data.ranks.forEach((rank, row) => {
      data.steps.forEach((step, column) => {
        const level = cells[row * data.steps.length + column];
        if (!level) return;
        pen.fillStyle = shade(low, high, level);
        const left = LEFT + column * heat.column;
        const height = heat.row >= LEAST_FRAMED ? heat.row - 0.5 : heat.row + 0.5;
        pen.fillRect(left, TOP + row * heat.row, heat.column - gap, height);
      });
    });
    drawLabels(heat, pen);
    pen.strokeStyle = pen.fillStyle = getComputedStyle(element).color;
    pen.lineWidth = 1.5;
    for (const row of outlinedRows(heat)) drawOutline(heat, pen, TOP + row * heat.row);
  }

  function outlinedRows({ data }) {
    return data.outlined.map((rank) => data.ranks.indexOf(rank)).filter((row) => row >= 0);
  }

  function drawOutline(heat, pen, y) {
    if (heat.row >= LEAST_FRAMED) {
      pen.strokeRect(LEFT - 0.75, y, heat.width - LEFT, heat.row - 1);
      return;
    }
    const middle = y + heat.row / 2;
    pen.beginPath();
    pen.moveTo(LEFT - 2, middle);
    pen.lineTo(LEFT - 8, middle - 4);
    pen.lineTo(LEFT - 8, middle + 4);
    pen.fill();
  }

  function drawLabels(heat, pen) {
    const { data, element } = heat;
    pen.fillStyle = getComputedStyle(element).getPropertyValue("--muted");
    pen.font = "11px Inter, system-ui, sans-serif";
    pen.textBaseline = "middle";
    for (const row of labeledRows(heat)) {
      pen.fillText(`rank ${data.ranks[row]}`, 0, TOP + (row + 0.5) * heat.row);
    }
    pen.fillText("step", 0, heat.height - BOTTOM / 2 + 2);
    const columns = Math.max(Math.ceil(60 / heat.column), 1);
    data.steps.forEach((step, column) => {
      if (column % columns) return;
      pen.fillText(String(step), LEFT + column * heat.column, heat.height - BOTTOM / 2 + 2);
    });
  }

  // The outlined ranks, and of the others as many as there is room for.
  function labeledRows(heat) {
    const labeled = outlinedRows(heat);
    const isNear = (row, other) => Math.abs(other - row) * heat.row < LABEL_ROOM;
    const isFree = (row) => !labeled.some((other) => isNear(row, other));
    heat.data.ranks.forEach((rank, row) => {
      if (isFree(row)) labeled.push(row);
    });
    return labeled;
  }

  function cellAt(heat, event) {
    const box = heat.canvas.getBoundingClientRect();
    const scale = heat.width / box.width;
    const column = Math.floor(((event.clientX - box.left) * scale - LEFT) / heat.column);
    const row = Math.floor(((event.clientY - box.top) * scale - TOP) / heat.row);
    const { ranks, steps } = heat.data;
    if (column < 0 || column >= steps.length || row < 0 || row >= ranks.length) return null;
    return { row, column };
  }

  function describe(heat, place) {
    const { data, cells } = heat;
    if (!place) return "";
    const level = cells[place.row * data.steps.length + place.column];
    const where = `rank ${data.ranks[place.row]}, step ${data.steps[place.column]}`;
    if (!level) return `${where}: no steady step`;
    const own = data.low_ms + ((data.high_ms - data.low_ms) * (level - 1)) / 254;
    return `${where}: about ${Number(own.toPrecision(3))} ms of its own`;
  }

  function mount(element) {
    const data = JSON.parse(element.dataset.heat);
    const cells = Uint8Array.from(atob(data.cells), (letter) => letter.charCodeAt(0));
    const canvas = document.createElement("canvas");
    const words = document.createElement("p");
    words.className = "step-words";
    element.append(canvas, words);
    element.dataset.drawn = "yes";
    const heat = { element, data, cells, canvas };
    draw(heat);
    canvas.addEventListener("pointermove", (event) => {
      words.textContent = describe(heat, cellAt(heat, event));
    });
    canvas.addEventListener("pointerleave", () => {
      words.textContent = "";
    });
    canvas.addEventListener("click", (event) => {
      const place = cellAt(heat, event);
      if (!place) return;
      const { column, row } = place;
      const detail = { from: data.from[column], to: data.to[column], rank: data.ranks[row] };
      document.dispatchEvent(new CustomEvent("steps:show", { detail }));
    });
    new ResizeObserver(() => element.isConnected && draw(heat)).observe(element);
    new MutationObserver(() => element.isConnected && draw(heat)).observe(
      document.documentElement,
      { attributes: true, attributeFilter: ["class"] },
    );
    addEventListener("beforeprint", () => element.isConnected && draw(heat));
  }

  function mountNew() {
    document.querySelectorAll(".rank-heat:not([data-drawn])").forEach(mount);
  }

  new MutationObserver(mountNew).observe(document.documentElement, {
    childList: true,
    subtree: true,
  });
  if (document.body) mountNew();
})();
