"use strict";
// Below and above the lanes: statistics of a selection, one event in full, search, the tip at the pointer.
(() => {
  const own = window.perfscopeTimeline;
  const MOST = 60;
  const EFFECTS = 12;

  own.node = (tag, attributes, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (name === "c") made.style.setProperty("--c", value);
      else if (value !== undefined && value !== false)
        made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((one) => one !== null && one !== undefined));
    return made;
  };
  const node = own.node;
  const percent = (share) => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
  const chip = (t, colour) =>
    node("i", { c: `var(--${t.meta.colours[colour].replace(/_/g, "-")})` });

  const KEYS = [
    ["w s", "zoom"],
    ["a d", "move"],
    ["drag", "move"],
    ["⇧ drag", "select"],
    ["f", "fit"],
    ["n p", "finding"],
    ["[ ]", "step"],
    ["/", "search"],
    ["esc", "back"],
  ];

  own.help = () =>
    node(
      "div",
      { class: "tl-help" },
      ...KEYS.map(([keys, what]) =>
        node("span", {}, ...keys.split(" ").flatMap((one) => [node("kbd", {}, one), " "]), what),
      ),
    );

  own.showNothing = (t) => {
    const legend = node(
      "div",
      { class: "tl-legend" },
      ...usedColours(t).map((colour) =>
        node(
          "span",
          {},
          node("i", {
            class: t.meta.waits[colour] ? "wait" : "",
            c: `var(--${t.meta.colours[colour].replace(/_/g, "-")})`,
          }),
          t.meta.labels[colour],
        ),
      ),
    );
    t.panel.replaceChildren(
      node(
        "div",
        {},
        node(
          "h3",
          {},
          "Click an event for details; Shift-drag to select a range and see its statistics.",
        ),
        legend,
        limits(t),
      ),
      node("div", {}, node("h3", {}, "Keys"), own.help()),
    );
  };

  function usedColours(t) {
    return t.meta.key.filter((one) => t.meta.colours[one] !== "step_1");
  }

  function limits(t) {
    const words = [...t.meta.notes, ...(t.source.says ? [t.source.says()] : [])].filter(Boolean);
    return words.length ? node("p", { style: "margin-top:10px" }, words.join(" ")) : null;
  }

  own.showSelection = async (t) => {
    const { selection } = t;
    const turn = ++t.panelTurn;
    const from = Math.floor(Math.min(selection.from, selection.to));
    const to = Math.max(Math.ceil(Math.max(selection.from, selection.to)), from + 1);
    const by = t.by || "name";
    let found;
    let sums;
    try {
      [found, sums] = await Promise.all([
        t.source.select(from, to, selection.lanes, by, MOST),
        t.source.select(from, to, selection.lanes, "category", 20),
      ]);
    } catch (error) {
      return own.say(t, `Could not load the statistics: ${error.message}`);
    }
    if (turn !== t.panelTurn) return undefined;
    t.remember();
    const tabs = node(
      "div",
      { class: "tl-tabs" },
      ...t.meta.by.map((one) =>
        node(
          "button",
          {
            type: "button",
            "aria-pressed": String(one === by),
            onclick: () => {
              t.by = one;
              own.showSelection(t);
            },
          },
          `by ${one}`,
        ),
      ),
    );
    const title = node(
      "h3",
      {},
      "Selected: ",
      node("strong", {}, own.time(to - from)),
      ` of ${selection.words}`,
    );
    const rows = found.absent
      ? node("p", {}, found.absent)
      : node("div", { class: "tl-scroll" }, table(t, found, by, to - from));
    t.panel.replaceChildren(
      node("div", {}, tabs, title, rows),
      node(
        "div",
        {},
        node("h3", {}, "Statistics of the selected range"),
        ...(found.absent ? roughly(t, from, to) : sentences(t, sums, to - from)),
        own.help(),
      ),
    );
    return undefined;
  };

  function table(t, found, by, span) {
    const head = node(
      "tr",
      {},
      ...[by, "count", "sum", "exclusive", "of range", "longest"].map((one) =>
        node("th", { scope: "col" }, one),
      ),
    );
    const rows = found.rows.map(([name, colour, count, sum, share, alone, longest]) =>
      node(
        "tr",
        {},
        node(
          "td",
          { title: name },
          chip(t, colour),
          by === "category" ? t.meta.labels[colour] : own.shortened(name),
        ),
        node("td", {}, own.count(count)),
        node("td", {}, own.time(sum)),
        node("td", {}, own.time(alone)),
        node("td", {}, percent(alone / span)),
        node("td", {}, own.time(longest)),
      ),
    );
    if (!rows.length) return node("p", {}, "No events in this range on these lanes.");
    return node(
      "table",
      {},
      node("thead", {}, head),
      node(
        "tbody",
        {},
        ...rows,
        ...(found.more
          ? [node("tr", {}, node("td", {}, `and ${own.count(found.more)} more names`))]
          : []),
      ),
    );
  }

  function sentences(t, sums, span) {
    const rows = sums.rows.filter((row) => !t.meta.colours[row[1]].startsWith("step_")).slice(0, 4);
    return rows.map(([, colour, count, , , alone]) =>
      node(
        "p",
        {},
        chip(t, colour),
        `${t.meta.labels[colour]}: ${own.time(alone)}, ${percent(alone / span)} of the range, ${own.count(count)} events`,
      ),
    );
  }

  // From the columns of the strip, where single events are not at hand: each says what its stretch was spent on, over all lanes.
  function roughly(t, from, to) {
    const [begin, end] = t.meta.span;
    const shares = Object.entries(t.strip || {}).map(([name, columns]) => {
      const wide = (end - begin) / columns.length;
      return [
        name,
        columns.reduce(
          (sum, share, at) =>
            sum +
            share *
              Math.max(
                Math.min(begin + (at + 1) * wide, to) - Math.max(begin + at * wide, from),
                0,
              ),
          0,
        ),
      ];
    });
    return shares
      .filter(([, ns]) => ns > 0)
      .sort((a, b) => b[1] - a[1])
      .slice(0, 4)
      .map(([name, ns]) =>
        node(
          "p",
          {},
          chip(t, t.meta.colours.indexOf(name)),
          `${t.meta.labels[t.meta.colours.indexOf(name)]}: about ${own.time(ns)}, ${percent(ns / (to - from))} of the range, all lanes together`,
        ),
      );
  }

  own.showEvent = (t, event) => {
    const track = t.tracks.find(
      (one) => event.lane >= one.first && event.lane < one.first + one.rows,
    );
    const facts = [
      ["from", own.tickLabel(event.ts_ns - t.zero, Math.max(event.dur_ns / 100, 1))],
      ["duration", own.time(event.dur_ns)],
      ["lane", track ? track.title : ""],
      ["category", t.meta.labels[t.meta.colours.indexOf(event.category)]],
      ...Object.entries(event.details).map(([name, value]) => [words(name), amount(name, value)]),
    ];
    const list = node(
      "dl",
      {},
      ...facts.flatMap(([name, value]) => [node("dt", {}, name), node("dd", {}, String(value))]),
    );
    const links = [
      ...event.causes.map((one) => flow(t, one, `${one.role} that caused it`)),
      ...event.effects.slice(0, EFFECTS).map((one) => flow(t, one, one.role)),
    ];
    const more = event.effects.length - EFFECTS + event.hidden_effects;
    if (more > 0) links.push(node("p", {}, `and ${own.count(more)} more`));
    t.panel.replaceChildren(
      node(
        "div",
        {},
        node(
          "h3",
          {},
          node("i", { c: `var(--${event.category})` }),
          node("strong", {}, event.name),
        ),
        node("div", { class: "tl-scroll" }, list),
      ),
      node(
        "div",
        {},
        node("h3", {}, links.length ? "Causes and effects" : "Keys"),
        ...(links.length ? [node("div", { class: "tl-scroll" }, ...links)] : [own.help()]),
      ),
    );
  };

  function flow(t, place, role) {
    return node(
      "button",
      { type: "button", class: "tl-flow", title: place.name, onclick: () => t.goTo(place) },
      node("span", {}, role),
      own.shortened(place.name),
      " ",
      node("span", {}, own.time(place.dur_ns)),
    );
  }

  const words = (name) => name.replace(/_(ns|bytes)$/, "").replace(/_/g, " ");
  const amount = (name, value) =>
    name.endsWith("_ns")
      ? own.time(value)
      : /bytes/.test(name)
        ? own.bytes(value)
        : ["pinned", "non_blocking"].includes(name)
          ? value
            ? "yes"
            : "no"
          : value;
  own.bytes = (value) => {
    const size = Math.abs(value);
    return size >= 1e9
      ? `${(value / 1e9).toFixed(2)} GB`
      : size >= 1e6
        ? `${(value / 1e6).toFixed(2)} MB`
        : size >= 1e3
          ? `${(value / 1e3).toFixed(1)} kB`
          : `${value} B`;
  };

  own.say = (t, text) => t.panel.replaceChildren(node("p", {}, text));

  // The tip: from the picture that is on screen, without asking anybody.
  own.hovered = (t, x, y) => {
    const shot = t.now;
    const row = own.rowAt(t.layout, y - t.size.ruler + t.view.scroll);
    if (!shot || shot.layout !== t.layout || !row || x < t.size.gutter) return null;
    const lane = shot.tile.lanes.get(row.lane);
    const at = ((own.ns(t, x) - shot.from) / (shot.to - shot.from)) * shot.tile.pixels;
    if (!lane || at < 0 || at >= shot.tile.pixels) return { row };
    if (!lane.x)
      return lane.busy[at | 0]
        ? { row, code: lane.code[at | 0], busy: lane.busy[at | 0] / 255 }
        : { row };
    const slack = (2 * shot.tile.pixels) / t.size.plot;
    let best = -1;
    let distance = slack;
    for (let i = 0; i < lane.x.length; i++) {
      const off = Math.max(lane.x[i] - at, at - lane.x[i] - lane.w[i], 0);
      if (off < distance || (off === 0 && distance === 0)) {
        distance = off;
        best = i;
      }
    }
    if (best < 0) return { row };
    const scale = (shot.to - shot.from) / shot.tile.pixels;
    const cut = lane.x[best] <= 0 || lane.x[best] + lane.w[best] >= shot.tile.pixels - 0.2;
    return { row, code: lane.code[best], single: true, dur: cut ? 0 : lane.w[best] * scale };
  };

  own.showTip = (t, x, y) => {
    const found = own.hovered(t, x, y);
    if (!found || found.code === undefined) {
      t.tip.hidden = true;
      return;
    }
    const name = own.shortened(t.names.text(found.code)).slice(0, 160);
    const colour = t.colours[found.code];
    const words = found.dur
      ? `about ${own.time(found.dur)}, `
      : found.single
        ? ""
        : `the longest here; ${percent(found.busy)} busy, `;
    t.tip.replaceChildren(name, " ", node("span", {}, `${words}${t.meta.labels[colour]}`));
    t.tip.hidden = false;
    const room = t.size.width - t.tip.offsetWidth - 8;
    t.tip.style.left = `${own.clamp(x + 14, 4, Math.max(room, 4))}px`;
    t.tip.style.top = `${y + 18 + t.tip.offsetHeight > t.size.height ? y - t.tip.offsetHeight - 8 : y + 18}px`;
  };
})();
