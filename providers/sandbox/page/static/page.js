// The page: shows each event of the stream line by line, and rebuilds only what has changed.

import { byId, count, setText } from "./dom.js";
import { IncidentLine } from "./incident.js";
import { ProviderCard } from "./provider.js";
import { showRequests } from "./traffic.js";

const lines = new Map();
const cards = new Map();
const chosen = { state: "all", provider: "all" };
let ahead = 0; // how many seconds the sandbox's clock is ahead of this browser's

function now() {
  return Date.now() / 1000 + ahead;
}

function show(state) {
  ahead = state.now - Date.now() / 1000;
  if (state.whole) {
    lines.clear();
    byId("incidents").replaceChildren();
  }
  for (const incident of state.incidents.toReversed()) {
    showIncident(incident, !state.whole);
  }
  for (const [id, line] of lines) {
    if (line.incident.number < state.first) {
      line.element.remove();
      lines.delete(id);
    }
  }
  for (const provider of state.providers) {
    showProvider(provider);
  }
  showRequests(state.requests);
  showNotes(state);
  choose();
}

function showIncident(incident, isNews) {
  let line = lines.get(incident.id);
  if (!line) {
    line = new IncidentLine(incident);
    lines.set(incident.id, line);
    byId("incidents").prepend(line.element);
    line.element.classList.toggle("news", isNews);
  }
  line.update(incident, now());
}

function showProvider(provider) {
  let card = cards.get(provider.name);
  if (!card) {
    card = new ProviderCard(provider.name);
    cards.set(provider.name, card);
    byId("providers").append(card.element);
  }
  card.update(provider, now());
}

function showNotes(state) {
  const open = state.providers.reduce((sum, provider) => sum + provider.open, 0);
  document.title = open ? `(${open}) Provider sandbox` : "Provider sandbox";
  byId("older").hidden = state.older <= 0;
  setText(byId("older"), `The newest ${lines.size} are shown; ${count(state.older, "older one")} are counted only.`);
  byId("faults").hidden = state.faults <= 0;
  setText(byId("faults"), `${count(state.faults, "fault")} of /_sandbox/faults in force.`);
}

function choose() {
  let shown = 0;
  for (const line of lines.values()) {
    const { status, provider } = line.incident;
    const fits =
      (chosen.state === "all" || chosen.state === status) &&
      (chosen.provider === "all" || chosen.provider === provider);
    line.element.hidden = !fits;
    shown += fits;
  }
  byId("empty").hidden = shown > 0;
  setText(
    byId("empty"),
    lines.size
      ? "None of these."
      : "Nobody has been paged yet. What the service sends appears here at once.",
  );
}

function offer(id, name) {
  const buttons = byId(id).querySelectorAll("button");
  for (const one of buttons) {
    one.addEventListener("click", () => {
      chosen[name] = one.dataset.value;
      for (const each of buttons) {
        each.setAttribute("aria-pressed", String(each === one));
      }
      choose();
    });
  }
}

function live(state, text) {
  byId("live").dataset.state = state;
  setText(byId("live"), text);
}

function tick() {
  for (const part of [...lines.values(), ...cards.values()]) {
    part.tick(now());
  }
}

offer("by-state", "state");
offer("by-provider", "provider");
setInterval(tick, 1000);

const stream = new EventSource("/_sandbox/page/stream");
stream.addEventListener("open", () => live("live", "Live"));
stream.addEventListener("message", (message) => show(JSON.parse(message.data)));
stream.addEventListener("error", () => live("lost", "Not connected: the sandbox has ended, or is out of reach"));
