"use strict";
// A timeline without a server: events and tiles are in the page (perfscope/ui/timeline_embedded.py), answers are computed here.
(() => {
  const own = window.perfscopeTimeline;
  const BINS = 512;
  const MOST_EFFECTS = 200;

  own.unpacked = async (base64) => {
    const stream = new Blob([own.bytesOf(base64)])
      .stream()
      .pipeThrough(new DecompressionStream("gzip"));
    const body = await new Response(stream).arrayBuffer();
    const length = new DataView(body).getUint32(0, true);
    return {
      header: JSON.parse(new TextDecoder().decode(new Uint8Array(body, 4, length))),
      body,
      first: 4 + length,
    };
  };

  function integers(bytes, n) {
    const out = new Float64Array(n);
    for (let i = 0, at = 0; i < n; i++) {
      let value = 0;
      let scale = 1;
      let byte;
      do {
        byte = bytes[at++];
        value += (byte & 127) * scale;
        scale *= 128;
      } while (byte & 128);
      out[i] = value;
    }
    return out;
  }

  // Columns of one lane: ts, end, code, cause (number in the file, 0 none), note, and the running sum of durations.
  function columns(told, pack, first) {
    const [begin, unit, n, palette, stored] = told;
    const [gap, dur, index, cause, note] = stored.map(([at, length]) =>
      integers(new Uint8Array(pack.body, pack.first + at, length), n),
    );
    const ts = new Float64Array(n);
    const end = new Float64Array(n);
    const code = new Uint32Array(n);
    const total = new Float64Array(n + 1);
    for (let i = 0, at = begin, link = 0; i < n; i++) {
      at += i ? gap[i] * unit : 0;
      ts[i] = at;
      at = end[i] = at + dur[i] * unit;
      code[i] = palette[index[i]];
      total[i + 1] = total[i] + dur[i] * unit;
      link += cause[i] % 2 ? -(cause[i] + 1) / 2 : cause[i] / 2;
      cause[i] = link;
    }
    return { ts, end, code, cause, note, total, first };
  }

  const below = (sorted, value) => {
    // how many are smaller
    let low = 0;
    let high = sorted.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (sorted[middle] < value) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  const busy = (lane, until) => {
    const at = below(lane.ts, until);
    return at ? lane.total[at] - Math.max(lane.end[at - 1] - until, 0) : 0;
  };
  const windowOf = (lane, from, to) => {
    let first = Math.max(below(lane.ts, from) - 1, 0);
    if (first < lane.ts.length && lane.ts[first] < from && lane.end[first] <= from) first++;
    return [first, Math.max(below(lane.ts, to), first)];
  };

  own.embeddedSource = (base64) => {
    let pack;
    let header;
    let lanes;
    let tracks;
    let effects;
    let hits = { words: null };
    const load = async () => {
      pack = await own.unpacked(base64);
      header = pack.header;
      let first = 1;
      lanes = header.lanes.map((told) => {
        const lane = told && columns(told, pack, first);
        first += told ? told[2] : 0;
        return lane;
      });
      tracks = own.tracks(header);
      for (const level of header.tiles) for (const one of level) one.tile = null;
      return header;
    };
    const exact = (from, to) =>
      header.whole || header.held.some(([begin, end]) => from >= begin && to <= end);
    const absent =
      "This file does not contain the single events of this range, to stay small; perfscope ui shows them.";

    function tile(from, to, pixels, numbers) {
      const found = new Map();
      const fine = exact(from, to);
      for (const number of numbers)
        found.set(
          number,
          fine ? single(lanes[number], from, to, pixels) : coarse(number, from, to, pixels),
        );
      return { from, to, pixels, lanes: found, bytes: 0 };
    }

    function single(lane, from, to, pixels) {
      if (!lane) return null;
      const [first, last] = windowOf(lane, from, to);
      const n = last - first;
      const scale = pixels / (to - from);
      if (!n) return null;
      const x = new Float32Array(n);
      const w = new Float32Array(n);
      for (let i = 0; i < n; i++) {
        x[i] = own.clamp((lane.ts[first + i] - from) * scale, 0, pixels);
        w[i] = own.clamp((lane.end[first + i] - from) * scale, 0, pixels) - x[i];
      }
      return { x, w, code: lane.code.subarray(first, last) };
    }

    // From the coarsest level whose pixels are not wider than those asked for, else from the finest.
    function coarse(number, from, to, pixels) {
      const asked = (to - from) / pixels;
      const size = (level) => (level[0][1] - level[0][0]) / decoded(level[0]).pixels;
      const level =
        header.tiles.find((one) => size(one) <= asked * 1.01) ||
        header.tiles[header.tiles.length - 1];
      const code = new Uint32Array(pixels);
      const share = new Uint8Array(pixels);
      if (!level) return null;
      for (const one of level) {
        if (one[1] <= from || one[0] >= to) continue;
        const part = spreadOut(decoded(one).lanes.get(number), decoded(one).pixels);
        const wide = (one[1] - one[0]) / decoded(one).pixels;
        if (!part) continue;
        for (let x = 0; x < pixels; x++) {
          const begin = from + x * asked;
          const at = Math.floor((begin - one[0]) / wide);
          const end = Math.max(Math.ceil((begin + asked - one[0]) / wide - 1e-9), at + 1);
          let best = 0;
          let sum = 0;
          let seen = 0;
          for (let i = Math.max(at, 0); i < end && i < part.busy.length; i++) {
            seen++;
            sum += part.busy[i];
            if (part.busy[i] > best) {
              best = part.busy[i];
              code[x] = part.code[i];
            }
          }
          if (seen && sum) share[x] = Math.max(Math.round(sum / seen), 1);
        }
      }
      return { busy: share, code };
    }
    function decoded(one) {
      if (!one.tile) {
        const [at, length] = one[2];
        one.tile = own.decode(
          pack.body.slice(pack.first + at, pack.first + at + length),
          one[0],
          one[1],
        );
      }
      return one.tile;
    }
    function spreadOut(lane, pixels) {
      if (!lane || !lane.x) return lane;
      if (!lane.spread) {
        lane.spread = {
          busy: new Uint8Array(pixels),
          code: new Uint32Array(pixels),
          edge: new Uint8Array(pixels),
          most: new Float32Array(pixels),
        };
        own.spread(lane, pixels, lane.spread);
      }
      return lane.spread;
    }

    function select(from, to, numbers, by, most) {
      if (!exact(Math.max(from, header.span[0]), Math.min(to, header.span[1])))
        return { rows: [], more: 0, absent };
      const amounts = new Map();
      const colours = own.bytesOf(header.name_colours);
      const chosen = new Set(numbers);
      for (const track of tracks) {
        for (let row = 0; row < track.rows; row++) {
          const lane = lanes[track.first + row];
          const inner =
            track.kind !== "stream" && row + 1 < track.rows ? lanes[track.first + row + 1] : null;
          if (!lane || !chosen.has(track.first + row)) continue;
          const [first, last] = windowOf(lane, from, to);
          for (let i = first; i < last; i++) {
            const begin = Math.max(lane.ts[i], from);
            const end = own.clamp(lane.end[i], from, to);
            const key = by === "name" ? lane.code[i] : colours[lane.code[i]];
            let one = amounts.get(key);
            if (!one)
              amounts.set(
                key,
                (one = [
                  by === "name" ? header.names[key] : header.colours[key],
                  by === "name" ? colours[key] : key,
                  0,
                  0,
                  0,
                  0,
                  0,
                ]),
              );
            one[2]++;
            one[3] += end - begin;
            one[5] += end - begin - (inner ? busy(inner, end) - busy(inner, begin) : 0);
            one[6] = Math.max(one[6], lane.end[i] - lane.ts[i]);
          }
        }
      }
      const rows = [...amounts.values()].sort((a, b) => b[5] - a[5] || b[3] - a[3]);
      return { rows: rows.slice(0, most), more: Math.max(rows.length - most, 0) };
    }

    function search(words) {
      const wanted = words.toLowerCase();
      const codes = header.names.flatMap((name, code) =>
        name.toLowerCase().includes(wanted) ? [code] : [],
      );
      const flags = new Set(codes);
      const density = new Array(BINS).fill(0);
      const found = [];
      const [begin, end] = header.span;
      lanes.forEach(
        (lane, number) =>
          lane &&
          lane.code.forEach((code, i) => {
            if (!flags.has(code)) return;
            density[
              Math.min(Math.floor(((lane.ts[i] - begin) / (end - begin)) * BINS), BINS - 1)
            ]++;
            found.push({ lane: number, ts_ns: lane.ts[i], dur_ns: lane.end[i] - lane.ts[i] });
          }),
      );
      hits = { words, found: found.sort((a, b) => a.ts_ns - b.ts_ns || a.lane - b.lane) };
      return { codes, count: found.length, density };
    }

    function hit(words, at, lane, back) {
      if (hits.words !== words) search(words);
      const after = (one) => one.ts_ns > at || (one.ts_ns === at && one.lane > lane);
      if (!back) return hits.found.find(after) || null;
      const before = hits.found.filter(
        (one) => !after(one) && (one.ts_ns !== at || one.lane !== lane),
      );
      return before[before.length - 1] || null;
    }

    const placeOf = (number, i) => ({
      lane: number,
      ts_ns: lanes[number].ts[i],
      dur_ns: lanes[number].end[i] - lanes[number].ts[i],
      name: header.names[lanes[number].code[i]],
    });
    function byNumber(wanted) {
      // of an event in the file, from 1
      const number = lanes.findIndex(
        (lane) => lane && wanted >= lane.first && wanted < lane.first + lane.ts.length,
      );
      return number < 0 ? null : [number, wanted - lanes[number].first];
    }
    function caused() {
      if (effects) return effects;
      effects = new Map();
      lanes.forEach(
        (lane, number) =>
          lane &&
          lane.cause.forEach((cause, i) => {
            if (!cause) return;
            if (!effects.has(cause)) effects.set(cause, []);
            effects.get(cause).push([number, i]);
          }),
      );
      return effects;
    }
    const kindOf = (number) =>
      tracks.find((one) => number >= one.first && number < one.first + one.rows);

    function event(number, at) {
      const lane = lanes[number];
      const i = lane ? below(lane.ts, at + 0.5) - 1 : -1;
      if (i < 0 || lane.end[i] < at) return exact(at, at) ? null : { absent };
      const track = kindOf(number);
      const note = header.notes_of_events[lane.note[i]];
      const causes = [];
      const found = [];
      for (let link = lane.cause[i]; link;) {
        const place = byNumber(link);
        if (!place) break;
        causes.unshift({
          ...placeOf(...place),
          role: kindOf(place[0]).kind === "calls" ? "launch" : "operator",
        });
        link = lanes[place[0]].cause[place[1]];
      }
      const started = (link) =>
        (caused().get(link) || []).map(([on, k]) => ({
          ...placeOf(on, k),
          role: kindOf(on).kind === "stream" ? "kernel" : "launch",
        }));
      if (track.kind === "calls") found.push(...started(lane.first + i));
      if (track.kind === "thread") {
        const calls = tracks.filter(
          (one) => one.kind === "calls" && one.group === track.group && one.tid === track.tid,
        );
        for (const one of calls) {
          for (let row = one.first; row < one.first + one.rows; row++) {
            if (!lanes[row]) continue;
            for (
              let k = below(lanes[row].ts, lane.ts[i]);
              k < lanes[row].ts.length && lanes[row].ts[k] < Math.max(lane.end[i], lane.ts[i] + 1);
              k++
            ) {
              if (lanes[row].cause[k])
                found.push(
                  { ...placeOf(row, k), role: "launch" },
                  ...started(lanes[row].first + k),
                );
            }
          }
        }
      }
      const colour = own.bytesOf(header.name_colours)[lane.code[i]];
      return {
        ...placeOf(number, i),
        category: header.colours[colour],
        details: note ? JSON.parse(note) : {},
        causes,
        effects: found.slice(0, MOST_EFFECTS),
        hidden_effects: Math.max(found.length - MOST_EFFECTS, 0),
      };
    }

    const soon =
      (answer) =>
      async (...asked) =>
        answer(...asked);
    return {
      exact,
      meta: load,
      tile: soon(tile),
      strip: soon(() => header.strip),
      select: soon(select),
      search: soon(search),
      hit: soon(hit),
      event: soon(event),
      says: () =>
        header.whole
          ? ""
          : `To stay small, this file contains single events only where the page links to: ${header.held
              .map(([a, b]) => `${own.time(a)} to ${own.time(b)}`)
              .join(", ")}; elsewhere it has the main activity of each pixel.`,
    };
  };
})();
