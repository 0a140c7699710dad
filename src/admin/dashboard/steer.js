// What an operator does from the page. Whatever takes a backend away from clients is asked about
// first, with what will happen.

const TOKEN = "evenkeel-token";
let latest = null;

/// Asks in the dialog. `check` does what was asked for and returns what went wrong, if something did.
function ask({ title, text, yes, level, field }, check) {
  say(at("ask-title"), title);
  at("ask-text").replaceChildren(...text);
  say(at("ask-yes"), yes);
  mark(at("ask-yes"), "data-level", level ?? null);
  at("ask-field").hidden = !field;
  const input = at("ask-input");
  input.value = "";
  if (field) {
    say(at("ask-label"), field.label);
    for (const name of ["type", "min", "max", "step", "inputmode"]) mark(input, name, field[name] ?? null);
    input.required = true;
    input.value = field.value ?? "";
  } else {
    mark(input, "type", "text");
    input.required = false;
  }
  say(at("ask-error"), "");
  const dialog = at("ask");
  return new Promise((resolve) => {
    const end = (answer) => {
      at("ask-form").onsubmit = dialog.onclose = at("ask-no").onclick = null;
      dialog.close();
      resolve(answer);
    };
    at("ask-no").onclick = () => end(false);
    // The event may be late, and of the question before.
    dialog.onclose = () => dialog.open || end(false);
    at("ask-form").onsubmit = async (event) => {
      event.preventDefault();
      at("ask-yes").disabled = true;
      const wrong = await check(input.value);
      at("ask-yes").disabled = false;
      if (wrong) say(at("ask-error"), wrong);
      else end(true);
    };
    if (!dialog.open) dialog.showModal();
    // Enter must not confirm what takes a backend away: that is typed on purpose.
    (field ? input : level ? at("ask-no") : at("ask-yes")).focus();
    if (field) input.select();
  });
}

/// Kept for this tab alone. A page may be denied its storage.
function token(fresh) {
  try {
    if (fresh !== undefined) sessionStorage.setItem(TOKEN, fresh);
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null;
  }
}

async function patch(pool, backend, change, bearer = token()) {
  const headers = { "content-type": "application/json" };
  if (bearer) headers.authorization = `Bearer ${bearer}`;
  const path = `api/v1/pools/${encodeURIComponent(pool)}/backends/${encodeURIComponent(backend)}`;
  try {
    const answer = await fetch(path, { method: "PATCH", headers, body: JSON.stringify(change), signal: AbortSignal.timeout(15000) });
    if (answer.ok) return { ok: true };
    const body = await answer.json().catch(() => ({}));
    return { status: answer.status, error: body.error ?? `refused with ${answer.status}` };
  } catch (error) {
    return { error: error.name === "TimeoutError" ? "no answer within 15 s" : "the balancer does not answer" };
  }
}

/// Changes a backend, after a question if there is one; asks for the token where one is needed.
/// `what` makes the change of what was typed, `done` the words for it.
async function steer(pool, backend, question, what, done) {
  let typed;
  let needed = false;
  const go = async (value) => {
    typed = value;
    const told = await patch(pool, backend, what(value));
    needed = told.status === 401;
    if (!told.ok) return needed ? null : told.error;
    notice(`${pool} / ${backend} ${done(value)}`);
    refresh();
    return null;
  };
  if (question) await ask(question, go);
  else {
    const wrong = await go();
    if (wrong) notice(`${pool} / ${backend}: ${wrong}`);
  }
  if (needed) await askToken(pool, backend, what(typed), done(typed));
}

async function askToken(pool, backend, what, done) {
  const before = token();
  await ask(
    {
      title: before ? "This token is not accepted" : "A token is needed",
      text: [el("p", {}, "Changes need the token from the file that admin.token_file names. It is kept in this tab until you close it.")],
      yes: "Go on",
      field: { label: "Token", type: "password" },
    },
    async (value) => {
      const told = await patch(pool, backend, what, value.trim());
      if (!told.ok) return told.status === 401 ? "This token is not accepted." : told.error;
      token(value.trim());
      notice(`${pool} / ${backend} ${done}`);
      refresh();
      return null;
    },
  );
}

function found(pool, name) {
  const all = latest?.pools.find((one) => one.name === pool)?.backends ?? [];
  return { backend: all.find((one) => one.name === name), others: all.filter((one) => one.name !== name && takes(one)) };
}

function whoTakesOver(pool, backend, others) {
  if (others.length > 0) {
    const names = others.slice(0, 4).map((one) => one.name).join(", ") + (others.length > 4 ? ", …" : "");
    return el("p", {}, `New sessions of ${pool} go to ${plural(others.length, "backend", "backends")}: ${names}.`);
  }
  const words = takes(backend)
    ? `It is the last backend of ${pool} that takes sessions. Without a fallback, new clients are turned away.`
    : `No backend of ${pool} takes sessions.`;
  return el("p", { "data-level": "bad" }, words);
}

async function askState(pool, name, state) {
  const { backend, others } = found(pool, name);
  if (!backend) return;
  const has = backend.sessions > 0;
  const sessions = backend.sessions === 1 ? "Its one session" : `Its ${count(backend.sessions)} sessions`;
  const end = (words) => (has ? `${sessions} ${words}.` : "It has no session now.");
  const questions = {
    ready: null,
    drain: {
      title: `Drain ${pool} / ${name}?`,
      text: `It takes nothing new from now on. ${end("may go on until they end, unless the pool's close.drain says otherwise")} It is still probed.`,
      yes: "Drain",
      level: "warn",
    },
    maintenance: {
      title: `Put ${pool} / ${name} in maintenance?`,
      text: `It is taken out at once. ${end("will be closed, unless the pool's close.maintenance says otherwise")} It is no longer probed.`,
      yes: "Put in maintenance",
      level: has ? "bad" : "warn",
    },
  };
  const done = { ready: "is ready", drain: "is in drain", maintenance: "is in maintenance" };
  const question = questions[state];
  if (question) {
    question.text = [el("p", {}, question.text), whoTakesOver(pool, backend, others)];
    if (others.length === 0) question.level = "bad";
  }
  await steer(pool, name, question, () => ({ state }), () => done[state]);
}

async function askWeight(pool, name) {
  const { backend, others } = found(pool, name);
  if (!backend) return;
  const all = sum(others, (one) => one.weight) + backend.weight;
  const part = takes(backend) && others.length > 0 ? ` It has ${backend.weight} of ${all} now, over all that take sessions.` : "";
  const question = {
    title: `Weight of ${pool} / ${name}`,
    text: [el("p", {}, `Its share of the new sessions, against the weights of the others.${part} With 0 it takes nothing new and is still probed.`)],
    yes: "Set",
    field: { label: "Weight, 0 to 256", type: "number", min: "0", max: "256", step: "1", inputmode: "numeric", value: backend.weight },
  };
  await steer(pool, name, question, (value) => ({ weight: Number(value) }), (value) => `has weight ${Number(value)}`);
}

let quiet = 0;

function notice(text) {
  say(at("notice"), text);
  clearTimeout(quiet);
  quiet = setTimeout(() => say(at("notice"), ""), 6000);
}
