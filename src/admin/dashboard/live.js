// What keeps the page alive: a status each second, events as they happen.

const INTERVAL = 1000;
const PATIENCE = 4000;
const KEPT_EVENTS = 200;

/// Seconds that the balancer's clock is ahead of ours.
let ahead = 0;
let heard = null;
let lost = null;
let timer = 0;
let asking = false;
let pressed = false;
let source = null;
const rejected = new Map();
const seen = new Set();
const changes = new Map();

const lastChange = (pool, backend) => changes.get(JSON.stringify([pool, backend]));
const seconds = () => performance.now() / 1000;

function record(status) {
  const now = seconds();
  figuresOf("all").add(now, total(status.listeners));
  for (const listener of status.listeners) figuresOf("listener", listener.name).add(now, listener);
  for (const pool of status.pools) {
    figuresOf("pool", pool.name).add(now, total(pool.backends));
    for (const backend of pool.backends) figuresOf("backend", pool.name, backend.name).add(now, backend);
  }
}

/// Listeners that have turned clients away in the last ten seconds, and why.
function rejecting(status) {
  const now = seconds();
  const out = [];
  for (const listener of status.listeners) {
    const why = [];
    for (const [reason, number] of Object.entries(listener.rejected)) {
      const key = JSON.stringify([listener.name, reason]);
      const one = rejected.get(key) ?? { number, at: -Infinity };
      if (number > one.number) one.at = now;
      one.number = number;
      rejected.set(key, one);
      if (now - one.at < 10) why.push(reason);
    }
    if (why.length) out.push([listener.name, why]);
  }
  return out;
}

function show(status) {
  latest = status;
  // Nothing may move between press and release, or the click is lost.
  if (pressed) return;
  record(status);
  const now = seconds();
  const theirs = Date.now() / 1000 + ahead;
  showAbout(status);
  showVerdict(status, rejecting(status));
  showSummary(status, now);
  showPools(status, theirs, now);
  showListeners(status);
}

async function refresh() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  const began = performance.now();
  try {
    const answer = await fetch("api/v1/status", { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!answer.ok) throw new Error(`it answers ${answer.status}`);
    const status = await answer.json();
    const date = Date.parse(answer.headers.get("date"));
    // The date has whole seconds: less than two apart is the same time.
    const apart = (date - Date.now()) / 1000;
    ahead = Math.abs(apart) > 2 ? apart : 0;
    back(status);
    show(status);
  } catch (error) {
    gone(error);
  }
  asking = false;
  timer = setTimeout(refresh, Math.max(100, INTERVAL - (performance.now() - began)));
}

/// It answers, perhaps again.
function back(status) {
  if (lost) {
    const other = heard && heard.pid !== status.pid;
    note("ok", `The balancer answers again after ${span((Date.now() - lost) / 1000)}`, other ? "another process than before" : "");
    lost = null;
    at("gone").hidden = true;
    document.body.classList.remove("stale");
  } else if (heard && heard.pid !== status.pid) {
    note("note", "Another process answers", `pid ${status.pid}, before it was ${heard.pid}`);
  }
  heard = { at: Date.now(), pid: status.pid };
  mark(at("pulse"), "data-level", status.state === "serving" ? "ok" : "warn");
  say(at("pulse"), status.state === "serving" ? "live" : status.state);
}

/// It does not answer: what is shown is old, and the page says so.
function gone(error) {
  lost ??= heard?.at ?? Date.now();
  const why = error.name === "TimeoutError" ? "no answer in time" : error instanceof TypeError ? "no connection" : error.message;
  const since = heard ? `has not answered since ${clock(new Date(lost))}: ${why}. What is shown below is from then` : `does not answer: ${why}`;
  say(at("gone"), `The balancer ${since}. This page goes on asking.`);
  at("gone").hidden = false;
  document.body.classList.add("stale");
  mark(at("pulse"), "data-level", "bad");
  say(at("pulse"), heard ? `stale since ${clock(new Date(lost))}` : "no answer");
  document.title = "(gone) Evenkeel";
}

function line(level, shape, time, what, reason) {
  const when = el("time", { datetime: time.toISOString(), title: time.toLocaleString() }, clock(time));
  const text = el("div", {}, when, el("div", {}, ...what));
  if (reason) text.append(el("div", { class: "reason" }, reason));
  const item = el("li", { "data-level": level }, el("span", { class: "icon" }, icon(shape)), text);
  if (Date.now() - time.getTime() < 5000) item.classList.add("fresh");
  at("events").prepend(item);
  while (at("events").children.length > KEPT_EVENTS) at("events").lastElementChild.remove();
  at("no-events").hidden = true;
}

/// Something that this page noticed by itself.
function note(level, text, reason) {
  line(level, "ring", new Date(), [el("span", { class: "what" }, text)], reason);
}

/// What else events say something has become.
const EVENT_LEVELS = {
  listening: ["ok", "dot"], closing: ["note", "square"], ok: ["ok", "dot"], ready: ["ok", "dot"], refused: ["bad", "cross"], expired: ["bad", "cross"], expiring: ["warn", "triangle"],
};

function told(kind, text) {
  // After a gap the latest come again.
  if (seen.has(kind + text)) return;
  seen.add(kind + text);
  if (seen.size > 4 * KEPT_EVENTS) seen.delete(seen.values().next().value);
  let event;
  try {
    event = JSON.parse(text);
  } catch {
    return;
  }
  if (event.backend) changes.set(JSON.stringify([event.pool, event.backend]), event);
  const where = [event.listener, event.pool, event.backend, event.certificate].filter(Boolean).join(" / ");
  const [level, shape] = HEALTH[event.to] ?? EVENT_LEVELS[event.to] ?? ["note", "ring"];
  const kindWord = kind === "backend" ? "" : `${kind} `;
  const what = [el("span", { class: "what" }, kindWord + where), " ", `${event.from} → `, el("span", { class: "change" }, event.to)];
  const time = new Date(event.time);
  line(level, shape, Number.isNaN(time.getTime()) ? new Date() : time, what, event.reason);
}

/// A page that nobody looks at gives its connection back: a browser has six for each host.
function listen() {
  source?.close();
  source = null;
  if (document.hidden) return;
  source = new EventSource("api/v1/events?recent=50");
  for (const kind of ["backend", "listener", "pool", "certificate", "reload", "upgrade"]) {
    source.addEventListener(kind, (message) => told(kind, message.data));
  }
  source.addEventListener("lost", (message) => note("warn", `${JSON.parse(message.data).lost} events were missed`, "this page was too slow"));
  source.onopen = () => say(at("events-state"), "");
  source.onerror = () => {
    say(at("events-state"), "reconnecting");
    // The browser tries again by itself, unless it was refused.
    if (source?.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  };
}

const THEMES = { auto: "light", light: "dark", dark: "auto" };

function theme(next) {
  document.documentElement.dataset.theme = next;
  say(at("theme"), { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" }[next]);
  try {
    localStorage.setItem("evenkeel-theme", next);
  } catch {
    // It holds for this page then.
  }
}

function kept() {
  try {
    const theme = localStorage.getItem("evenkeel-theme");
    return theme in THEMES ? theme : "auto";
  } catch {
    return "auto";
  }
}

theme(kept());
at("theme").addEventListener("click", () => theme(THEMES[document.documentElement.dataset.theme]));
at("filter").addEventListener("input", (event) => {
  wanted = event.target.value.trim().toLowerCase();
  if (latest) showPools(latest, Date.now() / 1000 + ahead, seconds());
});
addEventListener("pointerdown", () => (pressed = true), true);
for (const end of ["pointerup", "pointercancel"]) {
  // The click comes first.
  addEventListener(end, () => setTimeout(() => (pressed = false)), true);
}
document.addEventListener("visibilitychange", listen);
layTiles();
refresh();
listen();
