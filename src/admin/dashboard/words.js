// What the balancer's state means, in words. The order is its own: operator before ejection before
// health.

const HEALTH = {
  up: ["ok", "dot"],
  down: ["bad", "cross"],
  unresolved: ["bad", "cross"],
  unknown: ["wait", "ring"],
  standby: ["note", "half"],
  lagging: ["warn", "half"],
  ejected: ["warn", "triangle"],
  drain: ["note", "bars"],
  maintenance: ["note", "square"],
};

const look = (word) => HEALTH[word] ?? ["wait", "ring"];

/// The words for a backend's badges, the most telling first.
function badges(backend) {
  const words = [];
  if (backend.state !== "ready") words.push(backend.state);
  if (backend.ejected_until) words.push("ejected");
  if (backend.health !== "up" || words.length === 0) {
    // Nobody probes in maintenance, so what was found before says nothing.
    if (backend.state !== "maintenance") words.push(backend.health);
  }
  return words;
}

/// The worst of its badges; weight 0 is the operator's wish.
function levelOf(backend) {
  const order = ["bad", "warn", "note", "wait", "ok"];
  const levels = badges(backend).map((word) => look(word)[0]);
  if (backend.weight === 0) levels.push("note");
  return order.find((level) => levels.includes(level));
}

const takes = (backend) =>
  backend.health === "up" && backend.state === "ready" && !backend.ejected_until && backend.weight > 0;

function probeWords(backend) {
  const probe = backend.last_probe;
  if (!probe) return backend.health === "up" ? "not probed" : "not probed yet";
  // Figures that change each second say nothing and draw the eye.
  const ago = probe.age_ms < 15000 ? "" : `, ${span(probe.age_ms / 1000)} ago`;
  if (probe.result === "ok") {
    const said = probe.reason && probe.reason !== "ok" ? `: ${probe.reason}` : "";
    return `probe ok in ${probe.duration_ms.toFixed(1)} ms${said}${ago}`;
  }
  return `${probe.reason || "probe failed"}${ago}`;
}

/// Why a backend is as it is. `changed` is its last event, `now` the balancer's time.
function reasons(backend, changed, now) {
  const words = [];
  const since = (to) => {
    const from = changed && changed.to === to ? (now - Date.parse(changed.time)) / 1000 : NaN;
    return from >= 0 ? ` for ${span(from)}` : "";
  };
  if (backend.state === "drain") {
    const left = backend.sessions > 0 ? `${plural(backend.sessions, "session", "sessions")} left` : "no session left";
    words.push(`takes nothing new${since("drain")}, ${left}`);
  }
  if (backend.state === "maintenance") words.push(`taken out by an operator${since("maintenance")}, not probed`);
  if (backend.ejected_until) {
    const left = (Date.parse(backend.ejected_until) - now) / 1000;
    const why = backend.ejected_reason ?? "its traffic failed";
    words.push(left > 0 ? `${why}; back in ${span(Math.ceil(left))}` : why);
  }
  if (backend.state !== "maintenance") {
    if (backend.health === "up") {
      if (words.length === 0) words.push(probeWords(backend));
    } else if (backend.health === "standby") {
      words.push(`healthy, in the other role${since("standby")}`);
    } else if (backend.health === "unknown") {
      words.push("takes nothing before its first probe");
    } else {
      const how = since(backend.health);
      words.push(probeWords(backend) + (how ? `; ${backend.health}${how}` : ""));
    }
  }
  if (backend.closing) {
    const left = Math.max(0, Math.ceil((Date.parse(backend.closing.until) - now) / 1000));
    words.push(`its sessions are being ended (${backend.closing.cause}), the last in ${span(left)}`);
  }
  if (backend.weight === 0) words.push("weight 0: takes nothing new");
  else if (backend.effective_weight > 0 && backend.effective_weight < backend.weight) {
    words.push(`slow start: ${backend.effective_weight} of weight ${backend.weight}`);
  }
  return words.join(" · ");
}

/// What an operator should look at: the worst first, as [level, where, what].
function findings(status, rejecting) {
  const found = [];
  if (status.state === "stopping") found.push(["warn", "balancer", "stopping: it takes no new sessions, and lets those it has end"]);
  if (status.state === "starting") found.push(["note", "balancer", "starting: not all listeners accept yet"]);
  for (const pool of status.pools) {
    if (!pool.backends.some(takes)) found.push(["bad", pool.name, "no backend takes sessions"]);
    for (const backend of pool.backends) {
      const level = levelOf(backend);
      // A standby is as it should be.
      if (level === "ok" || (badges(backend)[0] === "standby" && backend.weight > 0)) continue;
      const probe = backend.health !== "up" && backend.health !== "standby" && backend.last_probe;
      const failed = probe && probe.result !== "ok" && backend.state !== "maintenance" ? probe.reason : null;
      const reason = failed ?? backend.ejected_reason;
      const why = reason ? `: ${reason}` : "";
      const words = backend.weight === 0 && takes({ ...backend, weight: 1 }) ? ["weight 0"] : badges(backend);
      found.push([level, `${pool.name} / ${backend.name}`, words.join(", ") + why]);
    }
  }
  for (const [name, reasons] of rejecting) found.push(["warn", name, `turns clients away: ${reasons.join(", ")}`]);
  const order = ["bad", "warn", "note", "wait"];
  return found.sort((a, b) => order.indexOf(a[0]) - order.indexOf(b[0]));
}

function headline(status, found) {
  const backends = status.pools.flatMap((pool) => pool.backends);
  const dead = status.pools.filter((pool) => !pool.backends.some(takes)).length;
  const of = (test) => backends.filter(test).length;
  const parts = [];
  const say = (number, one, many) => number > 0 && parts.push(plural(number, one, many));
  say(dead, "pool has no backend", "pools have no backend");
  say(of((b) => ["down", "unresolved"].includes(b.health) && b.state !== "maintenance"), "backend is down", "backends are down");
  say(of((b) => b.ejected_until), "is ejected", "are ejected");
  say(of((b) => b.health === "lagging"), "lags behind", "lag behind");
  say(of((b) => b.state !== "ready" || b.weight === 0), "taken out by hand", "taken out by hand");
  if (parts.length > 0) return parts.join(", ");
  if (status.state !== "serving") return status.state === "starting" ? "Starting" : "Stopping";
  if (found.some(([level]) => level === "warn")) return "Clients are turned away";
  const standby = of((b) => b.health === "standby");
  const waiting = of((b) => b.health === "unknown");
  if (waiting > 0) return `Waiting for the first probe of ${plural(waiting, "backend", "backends")}`;
  const rest = standby > 0 ? `, ${standby} in standby` : "";
  return `On an even keel: ${plural(backends.length - standby, "backend", "backends")} up${rest}`;
}
