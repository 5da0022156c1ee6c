// Search in the charts of stacks: highlights the frames whose function or file contains the words,
// and shows their share of the time.
const HIGHLIGHT = "#82a9ff"; // the dark text of the frames is readable on it in both themes

function matchingFrames(trace, words) {
  const wanted = words.toLowerCase();
  return trace.labels.map((label) => withoutEntities(label).toLowerCase().includes(wanted));
}

// The share of the time under matching frames; a match inside another adds nothing.
function shareOfMatches(trace, matches) {
  const indexOf = new Map(trace.ids.map((id, index) => [id, index]));
  const isInsideMatch = (frame) => {
    let parent = indexOf.get(trace.parents[frame]);
    while (parent !== undefined) {
      if (matches[parent]) return true;
      parent = indexOf.get(trace.parents[parent]);
    }
    return false;
  };
  let matched = 0;
  trace.values.forEach((value, frame) => {
    if (matches[frame] && !isInsideMatch(frame)) matched += value;
  });
  return matched / sumOfRoots(trace);
}

function highlightMatches(chart, words, output) {
  const [trace] = chart.data;
  const matches = words ? matchingFrames(trace, words) : trace.labels.map(() => false);
  chart.plainColors = chart.plainColors || trace.marker.colors;
  const colors = chart.plainColors.map((color, frame) => (matches[frame] ? HIGHLIGHT : color));
  Plotly.restyle(chart, { "marker.colors": [colors] });
  output.textContent = words ? describeMatches(trace, matches) : "";
}

function describeMatches(trace, matches) {
  const count = matches.filter(Boolean).length;
  if (!count) return "no match";
  const percent = 100 * shareOfMatches(trace, matches);
  const frames = `${count} frame${count === 1 ? "" : "s"}`;
  return `${frames}, ${percent.toFixed(percent < 2 ? 1 : 0)} % of the time`;
}

function searchStacks(field) {
  const chart = document.getElementById(field.dataset.chart);
  highlightMatches(chart, field.value.trim(), field.parentElement.querySelector("output"));
}

for (const field of document.querySelectorAll(".search input")) {
  field.addEventListener("input", () => searchStacks(field));
  document.addEventListener("drawn", () => {
    if (field.value.trim()) searchStacks(field);
  });
}
