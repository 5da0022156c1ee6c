// The list of runs: the cells of its grid, the jobs that are unfolded, and the deletion of runs.
const openJobs = new Set(new URLSearchParams(location.search).get("open")?.split(",") || []);

Object.assign(window.dashAgGridFunctions, {
  isRemovable: (node) => Boolean(node.data?.removable),
  isUnfolded: ({ data }) => !data.job || openJobs.has(data.job),
  // What cannot be diagnosed says why in the place of all that a diagnosis has.
  verdictSpan: ({ data }) => (data.verdict && !data.mark ? 4 : 1),
  verdictTooltip: ({ data }) => [data.verdict, data.note].filter(Boolean).join(": "),
  // Keeps the parts of a job below it, whatever the rows are sorted by.
  putPartsAfterJobs({ nodes }) {
    const parts = new Map();
    for (const node of nodes) {
      const { job } = node.data;
      if (job) parts.set(job, [...(parts.get(job) || []), node]);
    }
    const jobs = new Set(nodes.map(({ data }) => data.id));
    const ordered = nodes
      .filter(({ data }) => !data.job || !jobs.has(data.job))
      .flatMap((node) => [node, ...(parts.get(node.data.id) || [])]);
    nodes.splice(0, nodes.length, ...ordered);
  },
});

function cell(type, className, ...children) {
  return React.createElement(type, { className }, ...children);
}

function runLink({ id, name, opens }) {
  if (!opens) return cell("span", "run-title", name);
  const href = `${pathPrefix()}run/${id}/overview`;
  const onClick = (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    openAddress(href);
  };
  return React.createElement("a", { href, onClick, className: "run-title" }, name);
}

// The path of the list of runs, which a reverse proxy may begin with a folder of its own.
function pathPrefix() {
  return new URL(document.getElementById("brand").href).pathname;
}

function foldButton({ id, parts }, api) {
  if (!parts) return null;
  const isOpen = openJobs.has(id);
  const onClick = () => {
    if (isOpen) openJobs.delete(id);
    else openJobs.add(id);
    setQuery("open", [...openJobs].join(","));
    api.onFilterChanged();
    api.refreshCells({ force: true, columns: ["name"] });
  };
  const label = `${isOpen ? "Hide" : "Show"} the parts of the job`;
  const props = { className: "fold", type: "button", onClick, title: label };
  props["aria-label"] = label;
  props["aria-expanded"] = isOpen;
  return React.createElement("button", props, isOpen ? "▾" : "▸");
}

Object.assign(window.dashAgGridComponentFunctions, {
  RunName({ data, api }) {
    const words = cell("span", "two-lines", runLink(data), cell("small", "", data.about));
    const className = data.job ? "run-cell part-of-job" : "run-cell";
    return cell("span", className, foldButton(data, api), words);
  },
  RunVerdict({ data }) {
    const style = { "--c": `var(--${data.mark})` };
    const mark = data.mark && React.createElement("i", { className: "dot", style });
    const note = cell("small", data.waiting ? "waiting" : "", data.note);
    return cell("span", "two-lines", cell("span", "", mark, data.verdict), note);
  },
  RunBar({ data }) {
    const parts = data.bar.map(([category, share, texture, title]) =>
      React.createElement("div", {
        key: category,
        className: `part ${texture}`,
        style: { flex: share, "--c": `var(--${category})` },
        title,
      }),
    );
    return parts.length ? cell("div", "bar small", ...parts) : null;
  },
  RunStep({ data }) {
    const duration = cell("span", "", data["shown:step"]);
    return cell("span", "two-lines", duration, cell("small", "", data.steps));
  },
});

function selectedRuns() {
  return gridApi("runs")?.getSelectedRows() || [];
}

Object.assign(window.dash_clientside.perfscope, {
  selectedRuns(selected, rows) {
    const button = document.getElementById("delete-runs");
    if (button) button.disabled = !selected?.length;
    const runs = (rows || []).filter(({ job }) => !job);
    const waiting = runs.filter((row) => row.waiting).length;
    const words = [`${runs.length} ${runs.length === 1 ? "run" : "runs"}`];
    if (waiting) words.push(`${waiting} being diagnosed`);
    if (selected?.length) words.push(`${selected.length} selected`);
    return words.join(", ");
  },
});

function askForDeletion() {
  const names = document.getElementById("deletion-names");
  names.replaceChildren(
    ...selectedRuns().map(({ name, about }) => {
      const item = document.createElement("li");
      item.textContent = `${name} (${about})`;
      return item;
    }),
  );
  document.getElementById("deletion-dialog").showModal();
  document.getElementById("cancel-deletion").focus();
}

document.addEventListener("click", ({ target }) => {
  const dialog = document.getElementById("deletion-dialog");
  if (target.closest("#delete-runs")) askForDeletion();
  if (target.closest("#cancel-deletion")) dialog.close();
  if (target.closest("#confirm-deletion")) {
    dialog.close();
    const ids = selectedRuns().map(({ id }) => id);
    gridApi("runs").deselectAll();
    window.dash_clientside.set_props("deletion", { data: ids });
  }
});
