// The review page: which frame is shown, what is said of it, and how that reaches the disk.

import { implausible, measure } from "./geometry.js";
import { Stage } from "./stage.js";

const $ = (id) => document.getElementById(id);
const ROW = 46;
const KEPT = 14; // Frames that stay in memory.
const LONGEST = 180; // Seconds: a longer look at a frame was a pause.
const SETTLED = 400; // Milliseconds after the last arrow key.
const SIGNS = { deg: "°", px: " px", mm: " mm" };
const SOURCE = 0, INDEX = 1, STATUS = 2, WHY = 4, STATE = 5, LABELLED = 6; // Of a row of run.frames.

let run; // As the server describes the run.
let shown = []; // Places of the frames that the filters leave, in order.
let now = null; // The frame on the stage, as the server described it, with its points as they are now.
let since = 0; // When it came.
const seen = []; // Places gone through, for the way back.
const frames = new Map(); // Place -> promise of a frame with its picture.

const stage = new Stage($("stage"), { moving: live, moved, selected: chosen });

// --- what reaches the disk ---

const queue = []; // Changes that are not on the disk yet, in order.
let sending = false;
let unsettled = null; // Timer of a move by keys that may go on.

function keep(frame, action) {
  settle();
  const { source, index, state, points, reason, note, saw } = frame;
  const seconds = action === "accept" || action === "reject" ? Math.min((performance.now() - since) / 1000, LONGEST) : 0;
  const body = { source, index, state, points: { ...points }, reason, note, saw: [...saw], action, seconds };
  queue.push({ place: frame.place, body });
  run.frames[frame.place][STATE] = state;
  if (seconds) run.seconds.push(seconds);
  send();
}

async function send() {
  if (sending) return;
  sending = true;
  while (queue.length) {
    say("saved", "saving…", "waiting");
    const { place, body } = queue[0];
    try {
      const answer = await fetch("decisions", { method: "POST", body: JSON.stringify(body) });
      const found = await answer.json();
      if (!answer.ok && answer.status !== 422 && answer.status !== 404) throw new Error(found.error);
      queue.shift();
      if (!answer.ok) await refused(place, found.error);
    } catch (error) {
      const why = error instanceof TypeError ? "the server does not answer; is aop-pose review still running?" : error.message;
      say("saved", `not saved: ${why}`, "failed");
      await new Promise((done) => setTimeout(done, 2000));
    }
  }
  sending = false;
  if (!$("saved").classList.contains("failed") || !refusal) say("saved", "saved");
}

let refusal = "";
async function refused(place, why) {
  refusal = why;
  frames.delete(place);
  const frame = await fetched(place);
  run.frames[place][STATE] = frame.state;
  if (now?.place !== place || now.state !== frame.state) await show(place);
  say("saved", `not saved: ${why}`, "failed");
  announce(`Not saved: ${why}`);
  progress();
}

function say(id, text, kind = "") {
  $(id).textContent = text;
  $(id).className = kind;
}

function announce(text) {
  $("said").textContent = text;
}

/** A move by keys is kept when the keys rest, or when something else happens. */
function settle() {
  if (unsettled === null) return;
  clearTimeout(unsettled);
  unsettled = null;
  keep(now, "move");
}

const idle = async () => {
  while (queue.length) await new Promise((done) => setTimeout(done, 20));
};

addEventListener("beforeunload", (event) => {
  settle();
  if (queue.length) event.preventDefault();
});
addEventListener("pagehide", () => {
  settle();
  for (const { body } of queue) fetch("decisions", { method: "POST", body: JSON.stringify(body), keepalive: true });
});

// --- frames ---

async function asked(address, settings) {
  const answer = await fetch(address, settings);
  const found = await answer.json();
  if (!answer.ok) throw new Error(found.error);
  return found;
}

function fetched(place) {
  const known = frames.get(place);
  if (known) {
    frames.delete(place);
    frames.set(place, known);
    return known;
  }
  const wanted = (async () => {
    const frame = await asked(`frames/${place}`);
    if (!frame.trouble) {
      const picture = await fetch(`frames/${place}/picture`);
      frame.picture = URL.createObjectURL(await picture.blob());
    }
    return frame;
  })();
  wanted.catch(() => frames.delete(place));
  frames.set(place, wanted);
  for (const [old, promise] of frames) {
    if (frames.size <= KEPT) break;
    if (old === now?.place) continue;
    frames.delete(old);
    promise.then((frame) => frame.picture && URL.revokeObjectURL(frame.picture), () => {});
  }
  return wanted;
}

let wish = null;
async function show(place) {
  settle();
  wish = place;
  let frame;
  try {
    frame = await fetched(place);
  } catch (error) {
    say("saved", `not shown: ${error.message}`, "failed");
    return;
  }
  if (wish !== place) return; // Somebody was faster.
  if (refusal) {
    refusal = "";
    say("saved", queue.length ? "saving…" : "saved", queue.length ? "waiting" : "");
  }
  if (now && now.place !== place) seen.push(now.place);
  now = frame;
  since = performance.now();
  history.replaceState(null, "", `#${frame.index}/${encodeURIComponent(frame.source)}`);
  stage.show(frame.picture, [frame.width || 1, frame.height || 1], frame.points, frame.outlines);
  for (const id of Object.keys(GHOSTS)) $(id).setAttribute("aria-pressed", "false");
  $("trouble").hidden = !frame.trouble;
  $("trouble").textContent = frame.trouble;
  $("name").textContent = title(place);
  $("why").textContent = frame.why;
  $("note").value = frame.note;
  $("model").textContent = ofModel(frame);
  $("accept").disabled = $("show-second").disabled = Boolean(frame.trouble);
  $("show-label").disabled = !run.frames[place][LABELLED];
  live();
  list();
  progress();
  announce(`${title(place)}, ${frame.state}. ${frame.why}. ${$("numbers").textContent}`);
  for (const next of [after(place, 1), after(place, -1), openAfter(place)]) if (next !== null) fetched(next).catch(() => {});
}

const title = (place) => {
  const [source, index] = run.frames[place];
  return index ? `${source}, frame ${index}` : source;
};

function ofModel(frame) {
  const main = run.quantities.find((one) => one.main);
  if (frame.value === null) return frame.status === "ok" ? "" : "The model states no number.";
  const sign = SIGNS[main.unit];
  const [low, high] = frame.interval;
  const share = run.coverage ? ` (${Math.round(100 * run.coverage)} %)` : "";
  const interval = low === null || high === null ? "" : `, interval ${low.toFixed(1)} to ${high.toFixed(1)}${sign}${share}`;
  return `Model: ${frame.value.toFixed(1)}${sign}${interval}`;
}

/** All that follows from where the points are. */
function live() {
  const values = now.trouble || now.refusal ? {} : measure(run.schema, now.points, now.scale);
  $("numbers").replaceChildren(
    ...run.quantities
      .filter((one) => one.main || one.column in values)
      .map((one) => {
        const line = document.createElement("div");
        const head = document.createElement("span");
        head.textContent = one.title;
        const value = values[one.column];
        line.className = one.main ? "main" : "";
        line.append(head, value === undefined ? "–" : `${value.toFixed(1)}${SIGNS[one.unit]}`);
        return line;
      }),
  );
  const size = [now.width, now.height];
  const wrong = now.trouble ? "" : now.refusal || implausible(run.schema, now.points, now.scale, size);
  if ($("warning").textContent !== wrong) $("warning").textContent = wrong;
  say("state", now.state === "open" ? "not reviewed" : now.reason ? `${now.state}: ${now.reason}` : now.state, now.state);
  $("show-others").disabled = now.state === "open";
  $("show-others").title = now.state === "open" ? "Once you have decided" : "";
  for (const button of $("points").children) {
    const at = now.points[button.dataset.point];
    button.lastChild.textContent = at ? `${at[0].toFixed(1)}, ${at[1].toFixed(1)}` : "missing";
    button.setAttribute("aria-pressed", String(stage.selected === button.dataset.point));
  }
  const touch = matchMedia("(pointer: coarse)").matches ? "Tap" : "Click";
  $("hint").textContent = stage.armed && !now.trouble ? `${touch} to place ${stage.armed}` : "";
}

function chosen() {
  if (now) live();
}

function moved(name, byKeys = false) {
  now.state = "open";
  now.reason = "";
  run.frames[now.place][STATE] = "open";
  if (byKeys) {
    clearTimeout(unsettled);
    say("saved", "saving…", "waiting");
    unsettled = setTimeout(settle, SETTLED);
  } else keep(now, "move");
  live();
  list();
  progress();
  announce(`${name} moved. ${$("numbers").textContent}. ${$("warning").textContent}`);
}

// --- decisions ---

function accept() {
  if (!now || now.trouble) return;
  const missing = run.points.filter((name) => !now.points[name]);
  if (missing.length) {
    announce(`Place ${missing.join(", ")} first`);
    $("warning").textContent = `Place ${missing.join(", ")} first`;
    return;
  }
  now.state = "accepted";
  now.reason = "";
  decided("accept");
}

function reject(reason) {
  $("why-not").close();
  now.state = "rejected";
  now.reason = reason;
  decided("reject");
}

function decided(action) {
  const place = now.place;
  // A move that the keys have not settled is part of this decision.
  clearTimeout(unsettled);
  unsettled = null;
  note();
  keep(now, action);
  const next = openAfter(place);
  if (next === null) {
    live();
    list();
    progress();
    announce(`${action}ed; no frame is left unreviewed here`);
  } else show(next);
}

async function undo() {
  settle();
  await idle();
  try {
    const before = await asked("undo", { method: "POST" });
    if (before === null) {
      announce("Nothing to undo");
      return;
    }
    const frame = await fetched(before.place);
    Object.assign(frame, before);
    run.frames[before.place][STATE] = before.state;
    await show(before.place);
  } catch (error) {
    say("saved", `not undone: ${error instanceof TypeError ? "the server does not answer" : error.message}`, "failed");
  }
}

function note() {
  const text = $("note").value.trim();
  if (!now || text === now.note) return false;
  now.note = text;
  return true;
}

let asking = 0; // Of several presses in a row the last one counts.
async function ghosts(id) {
  const pressed = $(id).getAttribute("aria-pressed") !== "true";
  $(id).setAttribute("aria-pressed", String(pressed));
  const turn = ++asking;
  const frame = now;
  const sets = [];
  for (const [other, from] of Object.entries(GHOSTS)) {
    if ($(other).disabled || $(other).getAttribute("aria-pressed") !== "true") continue;
    try {
      sets.push(...Object.entries(await from(frame)));
    } catch (error) {
      $(other).setAttribute("aria-pressed", "false");
      announce(error.message);
      $("hint").textContent = error.message;
    }
  }
  if (now !== frame || turn !== asking) return;
  stage.clearGhosts();
  for (const [name, points] of sets) stage.ghost(name, points);
  if (pressed && id === "show-others" && !sets.length) $("hint").textContent = "no other reader has accepted this frame";
}

const GHOSTS = {
  "show-model": async (frame) => ({ model: frame.model }),
  "show-second": (frame) => asked(`frames/${frame.place}/second`),
  "show-label": async (frame) => {
    const found = await asked(`frames/${frame.place}/label`);
    frame.saw = [...new Set([...frame.saw, "labels"])];
    return found;
  },
  "show-others": async (frame) => {
    const found = await asked(`frames/${frame.place}/others`);
    frame.saw = [...new Set([...frame.saw, ...Object.keys(found)])];
    return found;
  },
};

function reset() {
  for (const name of run.points) now.points[name] = now.model[name] ? [...now.model[name]] : null;
  stage.armed = run.points.find((name) => !now.points[name]) ?? null;
  stage.draw();
  moved("All points");
}

// --- from frame to frame ---

function after(place, step) {
  const at = shown.indexOf(place);
  if (at >= 0) return shown[at + step] ?? null;
  const later = step > 0 ? shown.find((one) => one > place) : shown.filter((one) => one < place).at(-1);
  return later ?? null;
}

function openAfter(place) {
  const isOpen = (one) => one !== place && run.frames[one][STATE] === "open" && run.frames[one][STATUS] !== "unreadable";
  return shown.find((one) => one > place && isOpen(one)) ?? shown.find(isOpen) ?? null;
}

const go = (place) => place !== null && place !== undefined && show(place);

function back() {
  const place = seen.pop();
  if (place === undefined) return;
  show(place).then(() => seen.pop());
}

// --- the list ---

function filter() {
  const [status, state, reader, name] = ["by-status", "by-state", "by-reader", "by-name"].map((id) => $(id).value);
  const [by, whose] = reader.split(":");
  const theirs = new Set(by === "none" ? Object.values(run.readers).flat() : (run.readers[whose] ?? []));
  const part = name.trim().toLowerCase();
  shown = [];
  run.frames.forEach((frame, place) => {
    if (status && frame[STATUS] !== status) return;
    if (state && frame[STATE] !== state) return;
    if (reader && theirs.has(place) !== (by === "of")) return;
    if (part && !frame[SOURCE].toLowerCase().includes(part)) return;
    shown.push(place);
  });
  $("count").textContent = `${shown.length} of ${run.frames.length} frames, the most doubtful first`;
  $("list").scrollTop = 0;
  list();
  progress();
}

function list() {
  const box = $("list");
  $("rows").style.height = `${shown.length * ROW}px`;
  const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 4);
  const last = Math.min(shown.length, first + Math.ceil((box.clientHeight || 600) / ROW) + 8);
  const rows = [];
  for (let line = first; line < last; line += 1) {
    const place = shown[line];
    const frame = run.frames[place];
    const row = document.createElement("div");
    row.className = `item ${frame[STATE]}`;
    row.id = `frame-${place}`;
    row.role = "option";
    row.style.top = `${line * ROW}px`;
    row.dataset.place = place;
    row.setAttribute("aria-selected", String(place === now?.place));
    row.setAttribute("aria-posinset", line + 1);
    row.setAttribute("aria-setsize", shown.length);
    const [name, why] = [document.createElement("b"), document.createElement("span")];
    name.textContent = title(place);
    why.textContent = frame[WHY] || "\u00a0";
    const unseen = document.createElement("span");
    unseen.className = "unseen";
    unseen.textContent = frame[STATE] === "open" ? "not reviewed" : frame[STATE];
    row.append(name, why, unseen);
    rows.push(row);
  }
  $("rows").replaceChildren(...rows);
  box.setAttribute("aria-activedescendant", now ? `frame-${now.place}` : "");
}

function bring() {
  const at = shown.indexOf(now?.place);
  const box = $("list");
  if (at >= 0 && (at * ROW < box.scrollTop || (at + 1) * ROW > box.scrollTop + box.clientHeight))
    box.scrollTop = Math.max(0, (at - 2) * ROW);
  list();
}

function progress() {
  const readable = run.frames.filter((frame) => frame[STATUS] !== "unreadable");
  const open = readable.filter((frame) => frame[STATE] === "open").length;
  const done = readable.length - open;
  $("bar").max = Math.max(readable.length, 1);
  $("bar").value = done;
  const times = run.seconds.slice(-30).sort((a, b) => a - b);
  const each = times.length ? times[times.length >> 1] : 0;
  const minutes = Math.ceil((open * each) / 60);
  const time = minutes >= 120 ? `${Math.round(minutes / 60)} h` : `${minutes} min`;
  $("left").textContent = `${done} of ${readable.length}` + (times.length >= 3 && open ? `, about ${time} left` : "");
  bring();
}

// --- keys, buttons ---

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const KEYS = {
  a: accept,
  r: () => askWhy(),
  u: undo,
  b: back,
  p: () => go(after(now.place, -1)),
  n: () => go(after(now.place, 1)),
  g: () => go(openAfter(now.place)),
  m: () => press("show-model"),
  s: () => press("show-second"),
  l: () => press("show-label"),
  o: () => press("show-others"),
  t: () => $("note").focus(),
  "+": () => stage.zoom(1.5),
  "=": () => stage.zoom(1.5),
  "-": () => stage.zoom(1 / 1.5),
  0: () => stage.fit(),
  "[": () => contrast(-10),
  "]": () => contrast(10),
  "?": () => $("keys").showModal(),
};

function press(id) {
  if (!$(id).disabled) $(id).click();
}

function contrast(step) {
  $("contrast").value = Number($("contrast").value) + step;
  filtered();
}

function filtered() {
  stage.image.style.filter = `brightness(${$("brightness").value}%) contrast(${$("contrast").value}%)`;
}

function askWhy() {
  $("own-reason").value = now.state === "rejected" ? now.reason : "";
  $("why-not").showModal();
}

addEventListener("keydown", (event) => {
  if (!now || event.ctrlKey || event.metaKey || event.altKey) return;
  const writing = event.target.closest?.("textarea, select, input:not([type=range])");
  if ($("why-not").open) {
    const reason = run.reasons[Number(event.key) - 1];
    if (reason && !writing) {
      event.preventDefault();
      reject(reason);
    }
    return;
  }
  if ($("keys").open) return;
  if (event.key === "Escape") {
    document.activeElement.blur();
    closeList();
    stage.select(null);
    return;
  }
  if (writing) return;
  const step = STEPS[event.key];
  if (step) {
    if (event.target.type === "range") return;
    event.preventDefault();
    if (event.target.id === "list") go(after(now.place, step[0] + step[1]));
    else if (stage.selected) {
      const by = event.shiftKey ? 10 : 1;
      stage.nudge(step[0] * by, step[1] * by);
    } else if (step[0]) go(after(now.place, step[0]));
    return;
  }
  const point = run.points[Number(event.key) - 1];
  if (point) {
    event.preventDefault();
    take(point);
    return;
  }
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});

function take(name) {
  stage.select(name, true);
  if (now.points[name]) stage.handles[name].focus({ preventScroll: true });
}

function closeList() {
  $("list-side").classList.remove("shown");
  $("open-list").setAttribute("aria-expanded", "false");
}

function begin() {
  $("folder").textContent = `${run.folder} · ${run.reader}`;
  document.title = `${run.folder} · aop-pose review`;
  stage.begin(run.points, run.lines, run.colours);
  run.points.forEach((name, place) => {
    const button = document.createElement("button");
    const [colour, at] = [document.createElement("i"), document.createElement("span")];
    button.type = "button";
    button.dataset.point = name;
    button.setAttribute("aria-keyshortcuts", place + 1);
    colour.style.background = run.colours[place];
    button.append(colour, name, " ", at);
    button.addEventListener("click", () => take(name));
    $("points").append(button);
  });
  run.reasons.forEach((reason, place) => {
    const button = document.createElement("button");
    const key = document.createElement("kbd");
    key.textContent = place + 1;
    button.type = "button";
    button.append(key, ` ${reason}`);
    button.addEventListener("click", () => reject(reason));
    $("reasons").append(button);
  });
  const offered = Object.keys(run.readers).flatMap((name) => [[`of:${name}`, `decided by ${name}`], [`not:${name}`, `not by ${name}`]]);
  if (offered.length) offered.push(["none:", "by no other reader"]);
  for (const [value, text] of offered) $("by-reader").append(new Option(text, value));
  $("by-reader").disabled = !offered.length;
  for (const id of ["by-status", "by-state", "by-reader"]) $(id).addEventListener("change", filter);
  $("by-name").addEventListener("input", filter);
  $("list").addEventListener("scroll", list, { passive: true });
  $("list").addEventListener("click", (event) => {
    const row = event.target.closest(".item");
    if (row) show(Number(row.dataset.place));
    closeList();
  });
  const clicks = {
    accept, reject: askWhy, undo, reset, previous: KEYS.p, next: KEYS.n, open: KEYS.g, help: KEYS["?"], fit: KEYS[0],
    in: KEYS["+"], out: KEYS["-"],
    own: () => $("own-reason").value.trim() && reject($("own-reason").value.trim()),
    "open-list": () => {
      const is = $("list-side").classList.toggle("shown");
      $("open-list").setAttribute("aria-expanded", String(is));
      bring();
    },
  };
  for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", () => now && action());
  for (const id of Object.keys(GHOSTS)) $(id).addEventListener("click", () => ghosts(id));
  $("note").addEventListener("change", () => note() && keep(now, "note"));
  for (const id of ["contrast", "brightness"]) $(id).addEventListener("input", filtered);
}

async function start() {
  try {
    run = await asked("run");
  } catch (error) {
    say("saved", error instanceof TypeError ? "the server does not answer" : error.message, "failed");
    return;
  }
  begin();
  filter();
  const [index, source] = location.hash.slice(1).split("/");
  const wanted = run.frames.findIndex((frame) => source && frame[SOURCE] === decodeURIComponent(source) && frame[INDEX] === Number(index));
  const open = run.frames.findIndex((frame) => frame[STATE] === "open");
  await show(wanted >= 0 ? wanted : Math.max(open, 0));
}

start();
