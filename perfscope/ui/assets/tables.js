// Sorting and saving of tables, and saving of charts: the report and the dashboard alike.
function tableRows(table) {
  return [...table.tBodies[0].rows];
}

function sortBy(head) {
  const table = head.closest("table");
  const at = Number(head.dataset.sort);
  const number = head.classList.contains("number");
  const down = head.getAttribute("aria-sort") !== "descending";
  const value = (row) =>
    number ? Number(row.cells[at].dataset.value) : row.cells[at].dataset.value;
  const order = tableRows(table).sort((a, b) => {
    const one = value(a);
    const other = value(b);
    const before = one < other ? -1 : one > other ? 1 : 0;
    return down ? -before : before;
  });
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.tBodies[0].append(...order);
}

// A cell that a spreadsheet would run as a formula is quoted as text.
function csvCell(text) {
  const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

function csvOf(table) {
  const heads = [...table.tHead.rows[0].cells]
    .filter((one) => one.dataset.sort)
    .map((one) => one.textContent);
  const rows = tableRows(table).map((row) =>
    [...row.cells].filter((one) => "value" in one.dataset).map((one) => one.dataset.value),
  );
  return [heads, ...rows].map((cells) => cells.map(csvCell).join(",")).join("\n") + "\n";
}

function saveAs(name, text, kind) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

document.addEventListener("click", (event) => {
  const head = event.target.closest("th[data-sort]");
  const save = event.target.closest("[data-csv]");
  const picture = event.target.closest("[data-picture]");
  if (head) sortBy(head);
  if (save)
    saveAs(
      `${save.dataset.csv}.csv`,
      csvOf(document.getElementById(`table-${save.dataset.csv}`)),
      "text/csv",
    );
  if (picture) {
    const chart = picture.closest("section").querySelector(".js-plotly-plot");
    const size = { width: chart.clientWidth, height: chart.clientHeight };
    if (chart)
      Plotly.downloadImage(chart, {
        format: picture.dataset.picture,
        filename: picture.dataset.name,
        ...size,
      });
  }
});
document.addEventListener("keydown", (event) => {
  const head = event.target.closest("th[data-sort]");
  if (head && (event.key === "Enter" || event.key === " ")) {
    event.preventDefault();
    sortBy(head);
  }
});
