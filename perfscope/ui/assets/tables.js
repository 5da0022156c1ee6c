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

function saveAs(name, text, kind) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// All rows of a table of the report, also those that are not shown.
function embeddedCsv(name) {
  const text = document.getElementById(`csv-${name}`).textContent;
  return text.replace(/&lt;/g, "<").replace(/&amp;/g, "&");
}

function savePicture(button) {
  const section = button.closest("section, details");
  const drawn = section.querySelector(".plain-figure > svg");
  if (drawn) savePlainFigure(drawn, button.dataset.picture, button.dataset.name);
  const chart = section.querySelector(".js-plotly-plot");
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
  if (csvButton) {
    const name = csvButton.dataset.csv;
    saveAs(`${name}.csv`, embeddedCsv(name), "text/csv");
  }
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
