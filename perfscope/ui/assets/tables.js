// Shared by the report and the dashboard: tables are sorted and saved, and charts are saved.
function tableRows(table) {
  return [...table.tBodies[0].rows];
}

function sortBy(head) {
  const table = head.closest("table");
  const column = Number(head.dataset.sort);
  const isNumber = head.classList.contains("number");
  const isDescending = head.getAttribute("aria-sort") !== "descending";
  const valueOf = (row) => {
    const { value } = row.cells[column].dataset;
    return isNumber ? Number(value) : value;
  };
  const sorted = tableRows(table).sort((a, b) => {
    const order = compare(valueOf(a), valueOf(b));
    return isDescending ? -order : order;
  });
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
  table.tBodies[0].append(...sorted);
}

function compare(left, right) {
  if (left < right) return -1;
  return left > right ? 1 : 0;
}

// A cell that a spreadsheet would run as a formula is quoted as text.
function csvCell(text) {
  const isFormula = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text));
  const safe = isFormula ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

function tableAsCsv(table) {
  const headCells = [...table.tHead.rows[0].cells].filter((cell) => cell.dataset.sort);
  const titles = headCells.map((cell) => cell.textContent);
  const rows = tableRows(table).map((row) => {
    const valueCells = [...row.cells].filter((cell) => "value" in cell.dataset);
    return valueCells.map((cell) => cell.dataset.value);
  });
  const lines = [titles, ...rows].map((cells) => cells.map(csvCell).join(","));
  return lines.join("\n") + "\n";
}

function saveAs(name, text, kind) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function saveTable({ dataset }) {
  const table = document.getElementById(`table-${dataset.csv}`);
  saveAs(`${dataset.csv}.csv`, tableAsCsv(table), "text/csv");
}

function savePicture(button) {
  const chart = button.closest("section").querySelector(".js-plotly-plot");
  if (!chart) return;
  Plotly.downloadImage(chart, {
    format: button.dataset.picture,
    filename: button.dataset.name,
    width: chart.clientWidth,
    height: chart.clientHeight,
  });
}

document.addEventListener("click", (event) => {
  const head = event.target.closest("th[data-sort]");
  const csvButton = event.target.closest("[data-csv]");
  const pictureButton = event.target.closest("[data-picture]");
  if (head) sortBy(head);
  if (csvButton) saveTable(csvButton);
  if (pictureButton) savePicture(pictureButton);
});

document.addEventListener("keydown", (event) => {
  const head = event.target.closest("th[data-sort]");
  const isPress = event.key === "Enter" || event.key === " ";
  if (head && isPress) {
    event.preventDefault();
    sortBy(head);
  }
});
