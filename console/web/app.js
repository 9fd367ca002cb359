// The status page. Whatever comes from a log was written by somebody, perhaps an attacker: it becomes text nodes only.
"use strict";

const POLL_MS = 5000;
const FEED_ROWS_MAX = 40;
const FINDINGS_MAX = 12;
const RECEIPTS_MAX = 8;
const RECONNECT_MS_MAX = 15000;
const MINUTES = 60;
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en");
let token = "";
let refreshing = false;
let again = false;

/** An element of a class; strings among the children become text. */
function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** Shows rows, or a word when there are none. */
function fill(list, rows, empty) {
  list.replaceChildren(...(rows.length ? rows : empty ? [el("li", "empty muted", empty)] : []));
}

/** The time of day; the date too when it is not about now. */
function clock(ms) {
  const at = new Date(ms);
  const near = Math.abs(Date.now() - ms) < 43200000;
  const day = near ? "" : `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric" })} `;
  const time = el("time", "muted", day + at.toLocaleTimeString("en-GB"));
  time.dateTime = Number.isNaN(at.getTime()) ? "" : at.toISOString();
  time.title = time.dateTime;
  return time;
}

function span(ms) {
  if (!Number.isFinite(ms)) return "";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3600000) return `${Math.round(ms / 60000)} min`;
  if (ms < 172800000) return `${Math.round(ms / 3600000)} h`;
  return `${Math.round(ms / 86400000)} days`;
}

const words = (name) => String(name ?? "").replaceAll("_", " ");

// ---- what is polled

class Locked extends Error {}

async function read(path) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(path, { headers, cache: "no-store", signal: AbortSignal.timeout(10000) });
  const body = await response.json();
  if (response.status === 401) throw new Locked(body.detail);
  if (!response.ok) throw new Error(`${path}: ${body.detail ?? response.status}`);
  return body;
}

async function refresh() {
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  const parts = [
    ["/api/health", showHealth],
    ["/api/dashboard", showDashboard],
    [`/api/threats?limit=${FINDINGS_MAX}`, (page) => fill($("findings"), page.rows.map(finding), "No findings. That is good.")],
    [`/api/receipts?limit=${RECEIPTS_MAX}`, (page) => fill($("receipts"), page.rows.map(receipt), "No receipts yet.")],
    ["/api/plans?limit=50", (page) => fill($("pending"), page.rows.filter((t) => t.to === "awaiting_approval").map(pending), "")],
  ];
  // The feed begins with what is stored, so that a quiet system does not look like a broken page.
  if (!$("feed").childElementCount) parts.push([`/api/events?limit=${FEED_ROWS_MAX}`, showStored]);
  const results = await Promise.allSettled(parts.map(async ([path, show]) => show(await read(path))));
  const failed = results.filter((result) => result.status === "rejected").map((result) => result.reason);
  const locked = failed.some((error) => error instanceof Locked);
  $("unlock").hidden = !locked;
  // Swagger UI is behind the token too, and a link cannot carry one.
  $("docs").hidden = locked || token !== "";
  if (locked) {
    setPill($("health"), "locked", "warn");
  } else if (failed.length === parts.length) {
    setPill($("health"), "unreachable", "bad");
  } else if (failed.length) {
    showProblems(failed.map((error) => error.message));
  }
  refreshing = false;
  if (again) {
    again = false;
    setTimeout(refresh, 500);
  }
}

function setPill(node, text, tone) {
  node.textContent = text;
  node.className = `pill ${tone}`;
}

function showProblems(problems) {
  $("problems").hidden = problems.length === 0;
  fill($("problems"), problems.map((problem) => el("li", "", problem)), "");
}

function showHealth(health) {
  const stopped = health.kill_switch;
  setPill($("health"), stopped ? "actions stopped" : health.status, stopped || health.status !== "ok" ? "warn" : "good");
  const lag = Object.values(health.lag).reduce((sum, waiting) => sum + waiting, 0);
  const waiting = lag ? `, ${number.format(lag)} waiting` : "";
  $("about").textContent = `${health.version}, up ${span(health.uptime_ms)}${waiting}`;
  showProblems(stopped ? ["The kill switch is engaged: nothing acts.", ...health.problems] : health.problems);
}

function showDashboard(board) {
  const severe = (board.findings_by_severity.Critical ?? 0) + (board.findings_by_severity.High ?? 0);
  const counters = [
    ["Events", board.events, board.newest_event ? ["newest ", clock(board.newest_event)] : ["none yet"]],
    ["Findings", board.findings, [`${number.format(severe)} high or critical`]],
    ["Receipts", board.receipts, ["signed and chained"]],
    ["Dead letters", board.dead_letters, [board.dead_letters ? "kept, can be replayed" : "everything was read"]],
  ];
  $("counters").replaceChildren(
    ...counters.map(([name, count, note]) =>
      el("div", "card counter", el("span", "muted", name), el("strong", "", number.format(count)), el("small", "muted", ...note))),
  );
  $("states").textContent = Object.entries(board.plans_by_state).map(([state, n]) => `${n} ${words(state)}`).join(", ");
  fill($("riskiest"), board.riskiest.slice(0, 6).map(risky), "Nobody stands out.");
  showRate(board.events_per_minute);
}

function risky([principal, score]) {
  const bar = el("span", `bar ${level(score)}`);
  bar.style.setProperty("--part", `${Math.min(100, score)}%`);
  return el("li", "", el("code", "who", principal), bar, el("b", "", String(score)));
}

const level = (score) => (score >= 70 ? "high" : score >= 40 ? "medium" : "low");

/** One bar a minute, the hour that ends with the newest; minutes without events stay empty. */
function showRate(points) {
  if (!points.length) {
    $("chart").replaceChildren(el("p", "empty muted", "No events yet."));
    $("rate").textContent = "";
    return;
  }
  const last = points[points.length - 1][0];
  const counts = new Array(MINUTES).fill(0);
  for (const [minute, count] of points) {
    const place = MINUTES - 1 - Math.round((last - minute) / 60000);
    if (place >= 0 && place < MINUTES) counts[place] += count;
  }
  const peak = Math.max(...counts, 1);
  const bars = counts.map((count, i) => {
    const height = (count / peak) * 96;
    const time = new Date(last - (MINUTES - 1 - i) * 60000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
    const title = svg("title", {});
    title.textContent = `${time}: ${number.format(count)}`;
    return svg("rect", { x: i * 10 + 1.5, y: 100 - height, width: 7, height: Math.max(height, count ? 1 : 0), rx: 1.5 }, title);
  });
  const label = `Events per minute over an hour; the peak is ${number.format(peak)}`;
  const figure = svg("svg", { viewBox: "0 0 600 100", preserveAspectRatio: "none", role: "img", "aria-label": label }, ...bars);
  const ends = el("p", "axis", clock(last - (MINUTES - 1) * 60000), clock(last));
  $("chart").replaceChildren(figure, ends);
  $("rate").textContent = `${number.format(counts[MINUTES - 1])} now, ${number.format(peak)} at the peak`;
}

// ---- rows

function finding(f) {
  const facts = f.prunella;
  const attacks = f.finding_info.attacks.map((attack) => {
    const technique = attack.sub_technique ?? attack.technique;
    const chip = el("code", "chip", technique.uid);
    chip.title = `${attack.tactic.name}: ${technique.name}`;
    return chip;
  });
  const head = el("div", "head",
    el("span", `severity s${f.severity_id}`, f.severity),
    el("b", "grow", f.finding_info.title),
    clock(f.time));
  const tags = el("div", "tags", ...attacks,
    el("span", `risk ${level(f.risk_score)}`, `risk ${f.risk_score}`),
    el("span", "muted", `${f.confidence_score} % sure`),
    el("span", "muted", `${number.format(facts.event_count)} events`));
  const why = facts.reasons.length ? el("ul", "why", ...facts.reasons.slice(0, 4).map((reason) => el("li", "", reason))) : null;
  const otherwise = facts.counterfactual ? el("p", "muted otherwise", `Normal would be: ${facts.counterfactual}`) : null;
  return el("li", "", head, el("p", "", f.message), why, otherwise, el("code", "who", facts.principal), tags);
}

function receipt(r) {
  const facts = r.prunella;
  const took = span(facts.latency.total_ms);
  const within = took ? ` in ${took}` : "";
  let outcome = [el("b", "", words(facts.state))];
  if (facts.contained) {
    outcome = [el("b", "good", `contained${within}`), ", ", el("code", "", facts.evidence)];
  } else if (facts.evidence) {
    outcome = [el("b", "", `setting stands${within}`), ", ", el("code", "", facts.evidence)];
  }
  const place = r.attestation ? el("span", "muted", `ledger entry ${r.attestation.index}`) : null;
  const head = el("div", "head", el("span", "grow", ...outcome), clock(r.time));
  const tags = el("div", "tags", el("code", "chip", facts.action), budget(facts.latency), place);
  return el("li", "", head, el("p", "", r.message), el("code", "who", facts.principal), tags);
}

/** Where the time went. */
function budget(latency) {
  const parts = ["detect", "plan", "apply", "verify"].filter((part) => Number.isFinite(latency[`${part}_ms`]));
  return parts.length ? el("span", "muted", parts.map((part) => `${part} ${span(latency[`${part}_ms`])}`).join(" · ")) : null;
}

function pending(transition) {
  const plan = transition.plan;
  const head = el("div", "head", el("b", "grow warn", "awaits approval"), clock(transition.at));
  const tags = el("div", "tags", el("code", "chip", plan.action), el("code", "muted", transition.plan_uid));
  return el("li", "", head, el("p", "", plan.reason), el("code", "who", plan.principal), tags);
}

// ---- the live feed

let queue = [];
let missed = 0;
let drawing = false;
let reconnectMs = 500;
let socket = null;
let retry = 0;

function connect() {
  const address = new URL("/ws/events", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const protocols = ["prunella.v1"];
  if (token) protocols.push(`bearer.${hex(token)}`);
  socket = new WebSocket(address, protocols);
  socket.onopen = () => {
    reconnectMs = 500;
    setPill($("live"), "live", "good");
  };
  socket.onmessage = (message) => take(JSON.parse(message.data));
  socket.onclose = () => {
    setPill($("live"), "feed closed", "");
    retry = setTimeout(connect, reconnectMs);
    reconnectMs = Math.min(reconnectMs * 2, RECONNECT_MS_MAX);
  };
}

function hex(text) {
  return Array.from(new TextEncoder().encode(text), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function take(message) {
  if (message.type === "event") {
    queue.push(message.event);
    if (queue.length > FEED_ROWS_MAX) {
      queue.shift();
      missed += 1;
    }
  } else if (message.type === "skipped") {
    missed += message.count;
  } else {
    refresh();
  }
  if (!drawing) {
    drawing = true;
    requestAnimationFrame(draw);
  }
}

function draw() {
  drawing = false;
  const feed = $("feed");
  feed.prepend(...queue.reverse().map(eventRow));
  queue = [];
  while (feed.childElementCount > FEED_ROWS_MAX) feed.lastElementChild.remove();
  $("skipped").textContent = missed ? `${number.format(missed)} not shown` : "";
}

function showStored(page) {
  $("feed").append(...page.rows.map(eventRow));
}

function eventRow(event) {
  const operation = event.api?.operation || event.activity_name || event.class_name;
  const where = event.src_endpoint?.ip ?? "";
  const mark = el("span", event.status_id === 2 ? "mark bad" : "mark good", event.status_id === 2 ? "×" : "·");
  mark.title = event.status;
  return el("li", "", clock(event.time), mark, el("span", "grow", operation), el("code", "muted", where));
}

// ---- start

$("unlock").addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  token = $("token").value.trim();
  $("token").value = "";
  clearTimeout(retry);
  socket.onclose = null;
  socket.close();
  connect();
  refresh();
});

setInterval(() => document.visibilityState === "visible" && $("unlock").hidden && refresh(), POLL_MS);
refresh();
connect();
