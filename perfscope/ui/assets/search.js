// Search in the stacks: frames whose name or file contains the words are lit, and their share of the time is told.
const LIT = "#82a9ff"; // the frames' dark ink reads on it in both themes

function matchesIn(trace, words) {
  const wanted = words.toLowerCase();
  const plain = (text) => text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");
  return trace.labels.map((label) => plain(label).toLowerCase().includes(wanted));
}

// Time under frames that match, each counted once: a match below another adds nothing.
function shareOf(trace, hits) {
  const place = new Map(trace.ids.map((id, at) => [id, at]));
  const below = (at) => {
    for (let up = place.get(trace.parents[at]); up !== undefined; up = place.get(trace.parents[up]))
      if (hits[up]) return true;
    return false;
  };
  const sum = (keep) =>
    trace.values.reduce((total, value, at) => total + (keep(at) ? value : 0), 0);
  return sum((at) => hits[at] && !below(at)) / sum((at) => trace.parents[at] === "");
}

function searchStacks(field) {
  const chart = document.getElementById(field.dataset.chart);
  lit(chart, field.value.trim(), field.parentElement.querySelector("output"));
}

function lit(chart, words, said) {
  const trace = chart.data[0];
  const hits = words ? matchesIn(trace, words) : trace.labels.map(() => false);
  const count = hits.filter(Boolean).length;
  chart.unlit = chart.unlit || trace.marker.colors;
  Plotly.restyle(chart, {
    "marker.colors": [chart.unlit.map((colour, at) => (hits[at] ? LIT : colour))],
  });
  const share = 100 * shareOf(trace, hits);
  said.textContent = !words
    ? ""
    : !count
      ? "no match"
      : `${count} frame${count === 1 ? "" : "s"}, ${share.toFixed(share < 2 ? 1 : 0)} % of the time`;
}

for (const field of document.querySelectorAll(".search input")) {
  field.addEventListener("input", () => searchStacks(field));
  document.addEventListener("drawn", () => {
    if (field.value.trim()) searchStacks(field);
  });
}
