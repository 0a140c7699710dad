// Figures: how they are kept over time, and how people read them.

/// What the charts show, in seconds.
const SPAN = 180;
/// A rate is taken over so many seconds: bytes of running sessions come in steps of one.
const WINDOW = 3;

/// Values over the last minutes, as [time, value].
class Series {
  points = [];

  add(time, value) {
    this.points.push([time, value]);
    while (this.points[0][0] < time - SPAN - 10) this.points.shift();
  }

  get last() {
    return this.points.at(-1)?.[1] ?? 0;
  }

  get peak() {
    return this.points.reduce((most, [, value]) => Math.max(most, value), 0);
  }
}

/// A counter that only rises, as what it rises by in a second.
class Rate {
  raw = [];
  series = new Series();

  add(time, count) {
    // It fell: the balancer is another process now.
    if (this.raw.length && count < this.raw.at(-1)[1]) this.raw = [];
    this.raw.push([time, count]);
    while (this.raw.length > 2 && this.raw[1][0] <= time - WINDOW) this.raw.shift();
    const [then, before] = this.raw[0];
    if (time > then) this.series.add(time, (count - before) / (time - then));
  }

  get last() {
    return this.series.last;
  }
}

/// One balancer's, listener's, pool's or backend's figures.
class Figures {
  sessions = new Series();
  fresh = new Rate();
  bytesIn = new Rate();
  bytesOut = new Rate();

  add(time, of) {
    this.sessions.add(time, of.sessions);
    this.fresh.add(time, of.sessions_total);
    this.bytesIn.add(time, of.bytes_in);
    this.bytesOut.add(time, of.bytes_out);
  }
}

/// Figures by what they are of.
const figures = new Map();

function figuresOf(...names) {
  const key = JSON.stringify(names);
  if (!figures.has(key)) figures.set(key, new Figures());
  return figures.get(key);
}

const sum = (list, of) => list.reduce((total, one) => total + of(one), 0);

function total(list) {
  const of = (key) => sum(list, (one) => one[key]);
  return { sessions: of("sessions"), sessions_total: of("sessions_total"), bytes_in: of("bytes_in"), bytes_out: of("bytes_out") };
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

const count = (value) => (value < 100000 ? whole.format(value) : short.format(value));

function perSecond(value) {
  if (value > 0 && value < 0.05) return "<0.1";
  return value < 10 ? (Math.round(value * 10) / 10).toString() : count(value);
}

/// As number and unit.
function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  const digits = at === 0 || value >= 100 ? 0 : 1;
  return [value.toFixed(digits), units[at]];
}

const size = (value) => bytes(value).join(" ");

/// Two units are enough for people.
function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor(s / 3600) % 24} h`;
}

const plural = (number, one, many) => `${count(number)} ${number === 1 ? one : many}`;
const clock = (date) => date.toLocaleTimeString([], { hour12: false });
