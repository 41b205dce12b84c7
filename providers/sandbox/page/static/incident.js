// One incident: its line, which stays the same element while it is listed, and the details that it shows when opened.

import { NAMES, ask, button, clock, count, duration, make, setText, tell } from "./dom.js";

const STATES = { open: "Open", acknowledged: "Acknowledged", resolved: "Resolved" };
const WHO = { client: "by the service", person: "by a person" };

const STEPS = {
  opened: "Triggered",
  "told again": "Told again",
  severity: "Severity",
  acknowledged: "Acknowledged",
  unacknowledged: "No longer acknowledged",
  note: "Note",
  tags: "Tags",
  resolved: "Resolved",
};

export class IncidentLine {
  constructor(incident) {
    this.incident = incident;
    this.element = make("li", "incident");
    this.element.dataset.id = incident.id;
    this.level = make("span", "level");
    this.title = make("bdi", "title");
    this.facts = make("span", "facts");
    this.state = make("span", "state");
    this.age = make("span", "age");
    this.acknowledge = button("", "Acknowledge", () => ask({ do: "acknowledge", id: this.incident.id }));
    this.resolve = button("", "Resolve", () => ask({ do: "resolve", id: this.incident.id }));
    this.detail = make("div", "detail");
    this.detail.hidden = true;
    this.detail.id = `detail-${incident.number}`;

    this.opener = button("opener", "", () => this.toggle());
    this.opener.setAttribute("aria-expanded", "false");
    this.opener.setAttribute("aria-controls", this.detail.id);
    const what = make("span", "what");
    what.append(this.title, this.facts);
    const standing = make("span", "standing");
    standing.append(this.state, this.age);
    this.opener.append(this.level, what, standing);
    const acts = make("div", "acts");
    acts.append(this.acknowledge, this.resolve);
    const line = make("div", "line");
    line.append(this.opener, acts);
    this.element.append(line, this.detail);
  }

  update(incident, now) {
    this.incident = incident;
    this.element.dataset.level = incident.level;
    this.element.dataset.status = incident.status;
    setText(this.level, incident.severity);
    setText(this.title, incident.title);
    setText(this.state, STATES[incident.status]);
    this.acknowledge.hidden = incident.status !== "open";
    this.resolve.hidden = incident.status === "resolved";
    this.facts.replaceChildren(...this.parts());
    this.tick(now);
    if (!this.detail.hidden) {
      this.load();
    }
  }

  parts() {
    const { provider, teams, occurrences, told, extra } = this.incident;
    const parts = [make("span", `brand ${provider}`, NAMES[provider])];
    parts.push(...teams.map((team) => make("bdi", "team", team)));
    if (occurrences > 1) {
      parts.push(make("span", "", count(occurrences, "event")));
    }
    if (told > 1) {
      parts.push(make("span", "", `told ${told}×`));
    }
    if (extra !== null) {
      parts.push(make("span", "extra", "should not have been opened"));
    }
    return parts;
  }

  tick(now) {
    const { status, by, opened_at, ended_at } = this.incident;
    const ended = status === "resolved" && ended_at !== null;
    const age = duration((ended ? ended_at : now) - opened_at);
    setText(this.age, by ? `${WHO[by]}, ${age}` : `for ${age}`);
  }

  toggle() {
    const opens = this.detail.hidden;
    this.detail.hidden = !opens;
    this.opener.setAttribute("aria-expanded", String(opens));
    if (opens) {
      this.load();
    }
  }

  async load() {
    try {
      const answer = await fetch(`/_sandbox/page/incidents/${encodeURIComponent(this.incident.id)}`);
      const said = await answer.json();
      if (answer.ok) {
        this.detail.replaceChildren(timeline(said), payload(said));
      } else {
        tell(said.error);
      }
    } catch {
      tell("The sandbox does not answer.");
    }
  }
}

function timeline(incident) {
  const part = make("section", "timeline");
  const steps = make("ol", "steps");
  incident.steps.forEach((step, index) => {
    const item = make("li", "");
    item.dataset.what = step.what;
    const head = make("span", "step", `${STEPS[step.what]} ${WHO[step.by]}`);
    item.append(make("time", "", clock(step.at)), head);
    if (step.detail) {
      item.append(make("bdi", "said", step.detail));
    }
    steps.append(item);
    if (index === 0 && incident.left_out > 0) {
      steps.append(make("li", "left-out", `${count(incident.left_out, "step")} left out`));
    }
  });
  part.append(make("h3", "", "Timeline"), steps, make("h3", "", "Dedup key"), make("code", "", incident.dedup_key));
  return part;
}

function payload(incident) {
  const part = make("section", "payload");
  const body = make("pre", "", incident.payload ?? "Not kept: the sandbox runs in its light mode.");
  body.tabIndex = 0;
  part.append(make("h3", "", "Opened with"), body);
  return part;
}
