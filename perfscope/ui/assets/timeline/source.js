"use strict";
// Where the timeline gets its pixels and answers from: routes of a server. (A page without one has embedded.js.)
(() => {
  const own = window.perfscopeTimeline;

  // Numbers as the routes take them: 3-9,12.
  own.ranges = (numbers) => {
    const parts = [];
    for (let i = 0; i < numbers.length; i++) {
      const first = numbers[i];
      while (i + 1 < numbers.length && numbers[i + 1] === numbers[i] + 1) i++;
      parts.push(first === numbers[i] ? `${first}` : `${first}-${numbers[i]}`);
    }
    return parts.join(",");
  };

  own.httpSource = (base) => {
    const get = async (path, query, signal) => {
      const words = new URLSearchParams(query).toString();
      const answer = await fetch(`${base}/${path}${words ? "?" + words : ""}`, {
        signal,
        credentials: "same-origin",
      });
      if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
      return answer;
    };
    const json = (path, query) => get(path, query).then((answer) => answer.json());
    return {
      exact: () => true,
      meta: () => json("meta", {}),
      async tile(from, to, pixels, lanes) {
        const answer = await get("tile", { from, to, pixels, lanes: own.ranges(lanes) });
        const tile = own.decode(await answer.arrayBuffer(), from, to);
        tile.server = Number(
          (/dur=([\d.]+)/.exec(answer.headers.get("Server-Timing") || "") || [0, 0])[1],
        );
        return tile;
      },
      names: (first, count) => json("names", { first, count }),
      strip: (columns) => json("strip", { columns }),
      select: (from, to, lanes, by, most) =>
        json("select", { from, to, lanes: own.ranges(lanes), by, most }),
      search: (words) => json("search", { words }),
      hit: (words, at, lane, back) => json("hit", { words, at, lane, back: back ? 1 : 0 }),
      event: (lane, at) => json("event", { lane, at }),
    };
  };
})();
