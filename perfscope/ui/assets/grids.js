// The grids of the dashboard: the text of their cells, their search, their rows as CSV, and what of
// them is in the address.
const SHOWN = "shown:";
const FULL = "full:";

window.dashAgGridFunctions = {
  shownText: (params) => params.data?.[SHOWN + params.colDef.field] ?? "",
  shareBar: (params) => ({
    backgroundImage: "linear-gradient(var(--share-bar), var(--share-bar))",
    backgroundSize: `${100 * Math.min(params.value, 1)}% 3px`,
    backgroundPosition: "0 25px",
    backgroundRepeat: "no-repeat",
  }),
};

window.dashAgGridComponentFunctions = {
  TimelineLink({ data }) {
    const href = timelineAddress(data.from / 1e9, data.to / 1e9);
    const onClick = (event) => {
      event.preventDefault();
      openAddress(href);
    };
    return React.createElement("a", { href, onClick }, "show");
  },
};

// The grid of a table, undefined until it is drawn.
function gridApi(name) {
  try {
    return window.dash_ag_grid?.getApi({ kind: "grid", name });
  } catch {
    return undefined;
  }
}

// The name of the table that an element of its card belongs to.
function tableName(element) {
  return JSON.parse(element.id).name;
}

function setQuery(name, value) {
  const query = new URLSearchParams(location.search);
  if (value) query.set(name, value);
  else query.delete(name);
  const text = query.size ? `?${query}` : "";
  history.replaceState(history.state, "", location.pathname + text + location.hash);
}

function searchGrid(field) {
  const name = tableName(field);
  gridApi(name)?.setGridOption("quickFilterText", field.value);
  setQuery(`${name}.search`, field.value.trim());
}

// The rows that are not filtered out, in the order in which they are shown.
function gridAsCsv(api) {
  const columns = api.getAllDisplayedColumns().map((column) => column.getColDef());
  const saved = columns.filter((column) => column.headerName);
  const lines = [saved.map((column) => column.headerName)];
  api.forEachNodeAfterFilterAndSort(({ data }) =>
    lines.push(saved.map(({ field }) => String(data[FULL + field] ?? data[field]))),
  );
  return lines.map((cells) => cells.map(csvCell).join(",")).join("\n") + "\n";
}

document.addEventListener("input", (event) => {
  if (event.target.matches(".quick-search input")) searchGrid(event.target);
});

document.addEventListener("click", (event) => {
  const button = event.target.closest("[id*='save-rows']");
  if (!button) return;
  const name = tableName(button);
  saveAs(`${name}.csv`, gridAsCsv(gridApi(name)), "text/csv");
});

// What the page shows of a selected row: every column, and what the table has no room for.
function rowDetails(rows, columns) {
  if (!rows?.length) return null;
  const [row] = rows;
  const entries = columns
    .map(([field, head]) => [head, row[FULL + field] ?? row[SHOWN + field] ?? row[field]])
    .filter(([head, text]) => head && text !== "" && text !== undefined);
  return entries.flatMap(([head, text]) => [element("Dt", head), element("Dd", String(text))]);
}

function element(type, children, props = {}) {
  return { namespace: "dash_html_components", type, props: { ...props, children } };
}

const gridCallbacks = {
  showRow(rows, columns) {
    const details = rowDetails(rows, columns);
    return details ? element("Dl", details) : null;
  },
  // Writes the order and the filters of each grid into the address.
  writeGridState(states, filters, ids) {
    ids.forEach(({ name }, number) => {
      const sorted = (states[number] || []).find((column) => column.sort);
      if (states[number]) setQuery(`${name}.sort`, sorted && `${sorted.colId} ${sorted.sort}`);
      const filter = filters[number] || {};
      setQuery(`${name}.filter`, Object.keys(filter).length ? JSON.stringify(filter) : "");
    });
  },
};
window.dash_clientside.perfscope = { ...window.dash_clientside.perfscope, ...gridCallbacks };
