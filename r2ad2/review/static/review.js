"use strict";
// The page works on parts of HTML that the server renders and escapes; texts go in as texts only.

const token = document.body.dataset.token || "";
const byId = (id) => document.getElementById(id);
const filter = byId("filter");
let current = null; // position of the chosen row
let loaded = null; // position of the row that is shown: the chosen one, once it has come
let page = 0;
let pending = Promise.resolve(); // changes are sent one after another
let nPending = 0;
let version = null;
let nLearnt = null;
let queueRequest = 0;
let rowRequest = 0;
let untouched = false; // whether nothing was done here since Learn was pressed
let pollFailed = false;
let notice = ""; // about labels that are kept, but not yet in the CSV file
const unsaved = new Map(); // labels and notes that could not be saved: what to say, by position

// The address with the token should not stay in sight or in the history.
if (!token && location.search) history.replaceState(null, "", location.pathname + location.hash);

function windowName() {
  let name = null;
  try {
    name = sessionStorage.getItem("window");
    if (!name) {
      name = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2);
      sessionStorage.setItem("window", name);
    }
  } catch { name = "page"; } // storage may be blocked in a frame
  return name;
}
const thisWindow = windowName();

function say(text) { byId("announcement").textContent = text; }

function showProblem(text) {
  const problem = byId("problem");
  problem.textContent = text || [...unsaved.values()].join(" ") || notice;
  problem.hidden = !problem.textContent;
}

async function request(address, options = {}) {
  const headers = { ...(options.headers || {}), "X-Review-Run": document.body.dataset.run };
  if (token) headers["X-Review-Token"] = token;
  let response;
  try {
    response = await fetch(address, { ...options, headers, credentials: "same-origin" });
  } catch {
    throw new Error("The server does not answer. Is r2ad2 review still running?");
  }
  if (response.status === 401) throw new Error("This page is out of date: open the address that r2ad2 review printed last.");
  return response;
}

async function fetchPart(address) {
  const response = await request(address);
  const text = await response.text();
  if (!response.ok) throw new Error(text);
  return text;
}

async function post(address, body) {
  const response = await request(address, {
    method: "POST", keepalive: true, body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

// ---- the queue -----------------------------------------------------------------------------

const rowButtons = () => [...byId("queue").querySelectorAll("button.row")];

async function loadQueue() {
  const number = ++queueRequest;
  const query = new URLSearchParams({
    order: filter.elements.order.value, show: filter.elements.show.value,
    search: filter.elements.search.value, page,
  });
  const html = await fetchPart("queue?" + query);
  if (number !== queueRequest) return; // a later request has taken over
  const focused = document.activeElement && document.activeElement.closest("#queue button.row");
  byId("queue").innerHTML = html;
  mark();
  if (focused) {
    const same = byId("queue").querySelector(`button.row[data-position="${focused.dataset.position}"]`);
    if (same) same.focus();
  }
}

async function loadFigures() { byId("figures").innerHTML = await fetchPart("figures"); }

function mark() {
  for (const button of rowButtons()) {
    if (Number(button.dataset.position) === current) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

function neighbour(step) {
  const buttons = rowButtons();
  const at = buttons.findIndex((button) => Number(button.dataset.position) === current);
  const next = at < 0 ? buttons[0] : buttons[at + step];
  return next ? Number(next.dataset.position) : null;
}

// ---- one row -------------------------------------------------------------------------------

async function show(position, { announce = true, focus = false } = {}) {
  const number = ++rowRequest;
  if (position !== loaded) { // until the row has come, nothing of the last one may count for it
    loaded = null;
    byId("note").value = "";
    byId("note").disabled = true;
    setPressed("");
  }
  current = position;
  mark();
  if (position === null) {
    byId("row").innerHTML = '<h2 id="row-title" tabindex="-1">No rows left here</h2>';
    return;
  }
  history.replaceState(null, "", `#${position}`);
  const html = await fetchPart(`rows/${position}`);
  if (number !== rowRequest) return;
  byId("row").innerHTML = html;
  loaded = position;
  byId("note").disabled = false;
  const title = byId("row-title");
  setPressed(title.dataset.label);
  byId("note").value = title.dataset.note;
  bringIntoView();
  if (focus) title.focus();
  if (announce) say(`${announced}${title.dataset.name}, ${byId("row").querySelector(".facts").innerText.replace(/\s+/g, " ")}`);
  announced = "";
  const explanation = byId("explanation");
  try {
    const causes = await fetchPart(`rows/${position}/explanation`);
    if (number === rowRequest) explanation.innerHTML = causes;
  } finally {
    explanation.setAttribute("aria-busy", "false");
  }
}
let announced = "";

// The queue scrolls by itself on wide screens; the row begins at its top.
function bringIntoView() {
  const queue = document.querySelector("section.queue");
  const button = queue.querySelector("button.row[aria-current=true]");
  if (button && queue.scrollHeight > queue.clientHeight + 1) {
    const outer = queue.getBoundingClientRect();
    const inner = button.getBoundingClientRect();
    if (inner.top < outer.top) queue.scrollTop -= outer.top - inner.top;
    else if (inner.bottom > outer.bottom) queue.scrollTop += inner.bottom - outer.bottom;
  }
  const section = document.querySelector("section.current");
  if (section.getBoundingClientRect().top < 0 || isNarrow()) {
    if (begun) section.scrollIntoView();
  }
}
const isNarrow = () => matchMedia("(max-width: 56rem)").matches;
let begun = false;

function setPressed(label) {
  for (const button of document.querySelectorAll("button.label")) {
    button.setAttribute("aria-pressed", String(button.dataset.label === label));
  }
}

function change(work) {
  nPending += 1;
  pending = pending.then(work).then(() => showProblem(""), (error) => showProblem(error.message)).finally(() => { nPending -= 1; });
  return pending;
}

const guarded = (work) => work().catch((error) => showProblem(error.message));

function shownNow(label) { // whether the filter still shows a row that has got this label
  const shown = filter.elements.show.value;
  return shown === "all" || shown === "reviewed" || shown === label;
}

// Sends a label, a note, or both; what is absent stays as it is.
async function save(position, name, values) {
  try {
    const done = await post("label", { position, window: thisWindow, ...values });
    unsaved.delete(position);
    notice = done.notice;
  } catch (error) {
    unsaved.set(position, `${name} was not saved. ${error.message}`);
    await loadQueue().catch(() => {}); // the row is in it again
    throw new Error("");
  }
}

function giveLabel(label) {
  if (loaded === null) return;
  const position = loaded;
  const values = { label };
  if (byId("note").value !== byId("row-title").dataset.note) values.note = byId("note").value;
  const name = byId("row-title").dataset.name;
  const button = rowButtons().find((one) => Number(one.dataset.position) === position);
  const next = neighbour(1) ?? neighbour(-1);
  announced = `${name} labelled ${label}. `;
  setPressed(label);
  if (button && !shownNow(label)) button.closest("li").remove();
  const goesOn = next !== null && next !== position;
  change(async () => {
    await save(position, name, values);
    if (rowButtons().length < 10 || shownNow(label)) await loadQueue();
    await loadFigures();
    if (!goesOn) {
      const first = rowButtons()[0];
      await show(first && Number(first.dataset.position) !== position ? Number(first.dataset.position) : shownNow(label) ? position : null);
    }
  });
  if (goesOn) guarded(() => show(next));
}

function saveNote() {
  if (loaded === null || byId("note").value === byId("row-title").dataset.note) return;
  const position = loaded;
  const name = byId("row-title").dataset.name;
  const note = byId("note").value;
  byId("row-title").dataset.note = note;
  change(async () => {
    await save(position, name, { note });
    say("Note saved");
  });
}

function undo() {
  change(async () => {
    const done = await post("undo", { window: thisWindow });
    if (done.position === null) { say("Nothing to undo"); return; }
    notice = done.notice;
    unsaved.delete(done.position);
    announced = `Undone: ${done.name}. `;
    await Promise.all([loadQueue(), loadFigures()]);
    await show(done.position);
  });
}

// ---- learning ------------------------------------------------------------------------------

function learn() {
  if (byId("learn").disabled) return;
  untouched = true;
  change(async () => {
    await post("learn", {});
    say("Learning has begun");
    await poll();
  });
}

function showLearning(learning) {
  byId("learning").hidden = !learning.running;
  byId("learn").disabled = learning.running || byId("learn").hasAttribute("aria-describedby");
  if (!learning.running) return;
  const bar = byId("learning-bar");
  if (learning.done === null) bar.removeAttribute("value");
  else bar.value = learning.done;
  byId("learning-text").textContent = `Learning: ${learning.phase}, ${Math.round(learning.seconds)} s`;
}

async function poll() {
  const response = await request("status");
  if (!response.ok) throw new Error(await response.text());
  const status = await response.json();
  const learning = status.learning;
  showLearning(learning);
  if (learning.error) showProblem(`Learning failed: ${learning.error}`);
  if (nLearnt !== null && learning.n_done > nLearnt) {
    page = 0;
    await Promise.all([loadQueue(), loadFigures()]);
    const first = rowButtons()[0];
    const summary = byId("figures").querySelector("summary");
    announced = `${summary ? summary.textContent : "Learnt"}. `;
    // Someone who has gone on working stays at their row.
    const title = byId("row-title");
    const note = byId("note");
    const isEdited = document.activeElement === note || note.value !== (title.dataset.note || "");
    if (current === null || untouched) await show(first ? Number(first.dataset.position) : null);
    else if (loaded === current && !isEdited) await show(current);
    else { say(announced); announced = ""; }
  } else if (version !== null && status.version !== version && nPending === 0) {
    await Promise.all([loadQueue(), loadFigures()]); // another window has labelled rows
  }
  nLearnt = learning.n_done;
  version = status.version;
  return learning.running;
}

async function keepPolling() {
  let running = false;
  try {
    running = await poll();
    if (pollFailed) showProblem("");
    pollFailed = false;
  } catch (error) {
    showProblem(error.message);
    pollFailed = true;
  }
  setTimeout(keepPolling, running ? 500 : 3000);
}

// ---- what people do ------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button || button.disabled) return;
  if (button.classList.contains("label")) giveLabel(button.dataset.label);
  else if (button.id === "undo") undo();
  else if (button.id === "learn") learn();
  else if (button.dataset.page !== undefined) {
    page = Number(button.dataset.page);
    guarded(async () => { await loadQueue(); byId("queue-title").scrollIntoView(); say(byId("queue-count").textContent); });
  } else if (button.dataset.position !== undefined) {
    const isLink = button.classList.contains("link");
    guarded(() => show(Number(button.dataset.position), { focus: isLink || isNarrow() }));
  }
});

for (const kind of ["keydown", "pointerdown", "input"]) {
  document.addEventListener(kind, () => { untouched = false; }, { capture: true });
}

const KEYS = {
  a: () => giveLabel("anomaly"), n: () => giveLabel("normal"), u: () => giveLabel("unsure"), z: undo, l: learn,
  j: () => { const next = neighbour(1); if (next !== null) guarded(() => show(next)); },
  k: () => { const next = neighbour(-1); if (next !== null) guarded(() => show(next)); },
  e: () => byId("note").focus(),
  "/": () => filter.elements.search.focus(),
};

document.addEventListener("keydown", (event) => {
  if (event.target === byId("note") && (event.key === "Enter" || event.key === "Escape")) {
    event.target.blur();
    byId("row-title").focus();
    return;
  }
  const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey || event.repeat || !byId("keys").checked) return;
  const work = KEYS[event.key.toLowerCase()];
  if (work) { event.preventDefault(); work(); }
});

byId("note").addEventListener("change", saveNote);
filter.addEventListener("submit", (event) => event.preventDefault());
let typing = null;
filter.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    page = 0;
    try { sessionStorage.setItem("filter", JSON.stringify([filter.elements.order.value, filter.elements.show.value])); } catch { /* blocked */ }
    guarded(async () => { await loadQueue(); const n = byId("queue-count"); say(n ? n.textContent : byId("queue").textContent.trim()); });
  }, 200);
});
byId("keys").addEventListener("change", () => {
  try { localStorage.setItem("keys", byId("keys").checked ? "on" : "off"); } catch { /* blocked */ }
});

async function begin() {
  try {
    byId("keys").checked = localStorage.getItem("keys") !== "off";
    const [order, shown] = JSON.parse(sessionStorage.getItem("filter") || "[]");
    if (order) filter.elements.order.value = order;
    if (shown) filter.elements.show.value = shown;
  } catch { /* blocked */ }
  if (filter.elements.order.value !== "suggested" || filter.elements.show.value !== "unreviewed") await loadQueue();
  const wanted = location.hash.slice(1);
  const first = rowButtons()[0];
  if (/^\d+$/.test(wanted)) {
    try { await show(Number(wanted), { announce: false }); return; } catch { history.replaceState(null, "", location.pathname); }
  }
  if (first) await show(Number(first.dataset.position), { announce: false });
}

guarded(begin).finally(() => { begun = true; keepPolling(); });
