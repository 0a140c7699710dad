// The page as it follows from a status.

const tiles = {};
const cards = new Map();
const rows = new Map();
let wanted = "";

function tile(id, title, kind) {
  const big = el("p", { class: "big" });
  const sub = el("p", { class: "sub" });
  const chart = kind === undefined ? null : spark(kind);
  const ticks = chart ? null : el("div", { class: "ticks", "aria-hidden": "true" });
  at("tiles").append(el("div", { class: "tile", id: `tile-${id}` }, el("h3", {}, title), big, sub, chart?.root ?? ticks));
  tiles[id] = { big, sub, chart, ticks };
}

function layTiles() {
  tile("sessions", "Sessions now", "");
  tile("fresh", "New sessions", "");
  tile("in", "From clients", "");
  tile("out", "To clients", "out");
  tile("backends", "Backends up");
  tile("pools", "Pools that can serve");
}

function fill(id, value, unit, sub, level = null) {
  const { big, sub: under } = tiles[id];
  const text = unit ? `${value}\u00a0${unit}` : String(value);
  if (big.textContent !== text) big.replaceChildren(String(value), ...(unit ? [el("small", {}, `\u00a0${unit}`)] : []));
  say(under, sub);
  mark(under, "data-level", level);
}

function showTicks(id, levels) {
  const { ticks } = tiles[id];
  const shown = levels.slice(0, 60);
  if (ticks.dataset.shown === JSON.stringify(shown)) return;
  ticks.dataset.shown = JSON.stringify(shown);
  ticks.replaceChildren(...shown.map(([level, shape]) => el("i", { "data-level": level }, icon(shape))));
}

function showSummary(status, now) {
  const all = figuresOf("all");
  const backends = status.pools.flatMap((pool) => pool.backends);
  fill("sessions", count(all.sessions.last), "", `most in 3 min: ${count(all.sessions.peak)}`);
  fill("fresh", perSecond(all.fresh.last), "/s", `most in 3 min: ${perSecond(all.fresh.series.peak)}/s`);
  const [inside, outside] = [bytes(all.bytesIn.last), bytes(all.bytesOut.last)];
  fill("in", inside[0], `${inside[1]}/s`, `${size(sum(status.listeners, (one) => one.bytes_in))} in all`);
  fill("out", outside[0], `${outside[1]}/s`, `${size(sum(status.listeners, (one) => one.bytes_out))} in all`);
  plot(tiles.sessions.chart, all.sessions, now, 4);
  plot(tiles.fresh.chart, all.fresh.series, now, 2);
  plot(tiles.in.chart, all.bytesIn.series, now, 1024);
  plot(tiles.out.chart, all.bytesOut.series, now, 1024);
  const up = backends.filter((one) => one.health === "up").length;
  const taking = backends.filter(takes).length;
  fill("backends", up, `of ${backends.length}`, `${plural(taking, "takes", "take")} new sessions`);
  showTicks("backends", backends.map((one) => look(badges(one)[0])));
  const dead = status.pools.filter((pool) => !pool.backends.some(takes));
  const names = dead.map((pool) => pool.name).join(", ");
  fill("pools", status.pools.length - dead.length, `of ${status.pools.length}`, dead.length ? `without a backend: ${names}` : "each has a backend", dead.length ? "bad" : null);
  showTicks("pools", status.pools.map((pool) => look(pool.backends.some(takes) ? "up" : "down")));
}

const SIGNS = { ok: "dot", note: "bars", warn: "triangle", bad: "cross", wait: "ring" };

function showVerdict(status, rejecting) {
  const found = findings(status, rejecting);
  const level = found[0]?.[0] ?? "ok";
  const verdict = at("verdict");
  if (verdict.dataset.level !== level) at("verdict-icon").replaceChildren(icon(SIGNS[level]));
  mark(verdict, "data-level", level);
  say(at("headline"), headline(status, found));
  const more = found.length > 8 ? [["wait", "and", `${found.length - 8} more below`]] : [];
  const lines = found.slice(0, 8).concat(more);
  const list = at("findings");
  if (list.dataset.shown !== JSON.stringify(lines)) {
    list.dataset.shown = JSON.stringify(lines);
    const item = ([one, where, what]) => el("li", { "data-level": one }, icon(SIGNS[one]), el("span", {}, el("b", {}, where), ` ${what}`));
    list.replaceChildren(...lines.map(item));
  }
  const bad = found.filter(([one]) => one === "bad").length;
  document.title = bad ? `(${bad}) Evenkeel` : "Evenkeel";
}

const COLUMNS = [
  ["Backend", "c-name"],
  ["State, and why", "c-state"],
  ["Sessions", "number c-sessions"],
  ["New /s", "number c-rate"],
  ["In, out /s", "number c-bytes"],
  ["Weight", "number c-weight"],
  ["", "c-do"],
];

let headings = 0;

function poolCard(name) {
  headings += 1;
  const heading = `pool-${headings}`;
  const parts = {
    facts: el("p", { class: "facts" }),
    flow: el("p", { class: "flow" }),
    chart: spark(""),
    body: el("tbody", { role: "rowgroup" }),
    rows: new Map(),
  };
  const head = COLUMNS.map(([title, kind]) => {
    const label = title ? {} : { "aria-label": "Actions" };
    return el("th", { role: "columnheader", scope: "col", class: kind, ...label }, title);
  });
  parts.root = el(
    "section",
    { class: "card flush", "aria-labelledby": heading },
    el("div", { class: "pool-head" }, el("h3", { id: heading }, name), parts.facts, parts.chart.root, parts.flow),
    el("table", { role: "table", class: "backends", "aria-labelledby": heading }, el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...head)), parts.body),
  );
  return parts;
}

function cell(label, kind, ...children) {
  return el("td", label ? { role: "cell", class: kind, "data-label": label } : { role: "cell", class: kind }, ...children);
}

function backendRow(pool, name) {
  const parts = {
    address: el("div", { class: "small" }),
    tags: el("span"),
    state: el("div"),
    why: el("div", { class: "why" }),
    sessions: el("div"),
    share: el("i"),
    fresh: cell("New /s", "number"),
    inside: el("div"),
    outside: el("div", { class: "small" }),
    weight: el("button", { type: "button", class: "weight" }),
    small: el("div", { class: "small" }),
    actions: {},
  };
  const doing = cell("", "doing whole");
  for (const [state, title] of [["ready", "Ready"], ["drain", "Drain"], ["maintenance", "Maintenance"]]) {
    const button = el("button", { type: "button", class: "quiet", "data-do": state, "aria-label": `${title}: ${pool} / ${name}` }, title);
    button.addEventListener("click", () => askState(pool, name, state));
    parts.actions[state] = button;
    doing.append(button);
  }
  parts.weight.addEventListener("click", () => askWeight(pool, name));
  parts.root = el(
    "tr",
    { role: "row", "data-backend": name },
    el("th", { role: "rowheader", scope: "row", class: "whole" }, el("span", { class: "name" }, name), parts.tags, parts.address),
    cell("", "whole", parts.state, parts.why),
    cell("Sessions", "number", parts.sessions, el("div", { class: "share", "aria-hidden": "true" }, parts.share)),
    parts.fresh,
    cell("In, out /s", "number", parts.inside, parts.outside),
    cell("Weight", "number", parts.weight, parts.small),
    doing,
  );
  return parts;
}

function showBackend(pool, backend, row, most, theirs) {
  const own = figuresOf("backend", pool.name, backend.name);
  const words = badges(backend);
  if (row.state.dataset.shown !== words.join()) {
    row.state.dataset.shown = words.join();
    row.state.replaceChildren(...words.map(badge));
  }
  mark(row.root, "data-level", levelOf(backend));
  mark(row.root, "data-state", words[0]);
  say(row.address, backend.address === backend.name ? "" : backend.address);
  if (row.tags.dataset.shown !== String(backend.backup)) {
    row.tags.dataset.shown = backend.backup;
    row.tags.replaceChildren(...(backend.backup ? [el("span", { class: "tag" }, "backup")] : []));
  }
  const failed = backend.failures > 0 ? ` · ${plural(backend.failures, "failure", "failures")}` : "";
  say(row.why, reasons(backend, lastChange(pool.name, backend.name), theirs * 1000) + failed);
  say(row.sessions, backend.max_sessions ? `${count(backend.sessions)} of ${count(backend.max_sessions)}` : count(backend.sessions));
  row.share.style.width = `${Math.min(100, (backend.sessions / (backend.max_sessions || most)) * 100)}%`;
  say(row.fresh, perSecond(own.fresh.last));
  say(row.inside, size(own.bytesIn.last));
  say(row.outside, size(own.bytesOut.last));
  say(row.weight, backend.weight);
  mark(row.weight, "aria-label", `Weight of ${pool.name} / ${backend.name} is ${backend.weight}: change it`);
  const partly = backend.effective_weight > 0 && backend.effective_weight < backend.weight;
  say(row.small, partly ? `now ${backend.effective_weight}` : "");
  for (const [state, button] of Object.entries(row.actions)) {
    // An ejected backend can be let in again before its time.
    button.hidden = state === backend.state && !(state === "ready" && backend.ejected_until);
  }
}

function matches(pool, backend) {
  const text = [pool.name, backend.name, backend.address, ...badges(backend)].join(" ").toLowerCase();
  return wanted.split(/\s+/).every((word) => text.includes(word));
}

/// `theirs` is the balancer's time, `now` that of the charts.
function showPools(status, theirs, now) {
  keyed(at("pool-cards"), cards, status.pools.map((pool) => pool.name), poolCard);
  let any = status.pools.length === 0;
  for (const pool of status.pools) {
    const card = cards.get(pool.name);
    const own = figuresOf("pool", pool.name);
    const able = pool.backends.filter(takes).length;
    const retries = pool.retries ? ` · ${plural(pool.retries, "retry", "retries")}` : "";
    const waiting = pool.queue_length ? ` · ${plural(pool.queue_length, "session waits", "sessions wait")}` : "";
    say(card.facts, `${pool.balance} · ${able} of ${pool.backends.length} take sessions${retries}${waiting}`);
    say(card.flow, `${count(own.sessions.last)} · ${perSecond(own.fresh.last)}/s`);
    mark(card.flow, "title", "sessions now, and new ones a second");
    plot(card.chart, own.sessions, now, 4);
    keyed(card.body, card.rows, pool.backends.map((one) => one.name), (name) => backendRow(pool.name, name));
    const most = Math.max(1, ...pool.backends.map((one) => one.sessions));
    let visible = 0;
    for (const backend of pool.backends) {
      const row = card.rows.get(backend.name);
      showBackend(pool, backend, row, most, theirs);
      row.root.hidden = !matches(pool, backend);
      visible += row.root.hidden ? 0 : 1;
    }
    card.root.hidden = visible === 0;
    any ||= visible > 0;
  }
  at("no-match").hidden = any;
}

function listenerRow(name) {
  const parts = {
    where: el("div", { class: "small" }),
    kind: el("span", { class: "tag" }),
    pool: cell("To pool", ""),
    sessions: cell("Sessions", "number"),
    fresh: cell("New /s", "number"),
    inside: cell("In /s", "number"),
    outside: cell("Out /s", "number"),
    away: cell("Turned away", "whole"),
  };
  const head = el("th", { role: "rowheader", scope: "row", class: "whole" }, el("span", { class: "name" }, name), parts.kind, parts.where);
  parts.root = el("tr", { role: "row" }, head, parts.pool, parts.sessions, parts.fresh, parts.inside, parts.outside, parts.away);
  return parts;
}

const counted = (reasons) => Object.entries(reasons ?? {}).filter(([, number]) => number > 0).map(([why, number]) => `${count(number)} ${why}`);

function showListeners(status) {
  keyed(at("listener-rows"), rows, status.listeners.map((one) => one.name), listenerRow);
  for (const listener of status.listeners) {
    const row = rows.get(listener.name);
    const own = figuresOf("listener", listener.name);
    say(row.kind, listener.protocol);
    say(row.where, listener.addresses.join(", "));
    say(row.pool, listener.pool ?? "–");
    say(row.sessions, count(listener.sessions));
    say(row.fresh, perSecond(own.fresh.last));
    say(row.inside, size(own.bytesIn.last));
    say(row.outside, size(own.bytesOut.last));
    const away = counted(listener.rejected);
    away.push(...counted(listener.udp?.dropped).map((text) => `${text} (datagrams)`));
    if (listener.accept_paused) away.push(`accepting paused ${plural(listener.accept_paused, "time", "times")}`);
    say(row.away, away.join(", ") || "nobody");
  }
}

function showAbout(status) {
  const file = status.config.file ?? "no file";
  const draining = (status.draining_processes ?? []).map((one) => ` · pid ${one.pid} of before still has ${plural(one.sessions, "session", "sessions")}`);
  say(at("about"), `${status.version} · ${file} (${status.config.hash.slice(0, 8)}) · pid ${status.pid} · up ${span(status.uptime_seconds)}${draining.join("")}`);
}
