// One provider: how many incidents it has, how it answers, and the buttons that break it for a minute.

import { NAMES, ask, button, count, make, setText } from "./dom.js";

const FAULTS = [
  ["unavailable", "503", "It answers 503 to everything"],
  ["throttled", "429", "It answers 429: too many requests"],
  ["revoked", "Revoke key", "It does not know the service's keys any more"],
];

const BROKEN = { unavailable: "is down", throttled: "is throttling", revoked: "has revoked the keys" };

export class ProviderCard {
  constructor(name) {
    this.name = name;
    this.outage = null;
    this.until = 0;
    this.element = make("section", "provider");
    this.element.id = `provider-${name}`;
    this.health = make("span", "health");
    const head = make("div", "head");
    head.append(make("h2", `brand ${name}`, NAMES[name]), this.health);
    const numbers = make("dl", "numbers");
    this.numbers = {};
    for (const what of ["open", "acknowledged", "resolved"]) {
      this.numbers[what] = make("dd", "", "0");
      const pair = make("div", what);
      pair.append(make("dt", "", what), this.numbers[what]);
      numbers.append(pair);
    }
    this.answers = make("p", "answers");
    const breaking = make("div", "breaking");
    this.label = make("span", "", "Break it for a minute");
    this.breakers = FAULTS.map(([how, text, title]) => {
      const node = button("break", text, () => ask({ do: "break", provider: name, how }));
      node.title = title;
      node.dataset.how = how;
      return node;
    });
    this.mend = button("mend", "Mend it now", () => ask({ do: "mend", provider: name }));
    breaking.append(this.label, ...this.breakers, this.mend);
    this.element.append(head, numbers, this.answers, breaking);
  }

  update(provider, now) {
    for (const [what, node] of Object.entries(this.numbers)) {
      setText(node, provider[what].toLocaleString("en"));
    }
    const refused = provider.refused ? `, ${provider.refused.toLocaleString("en")} refused` : "";
    setText(this.answers, `${count(provider.accepted, "request")} accepted${refused}`);
    this.outage = provider.outage;
    this.until = this.outage ? now + this.outage.seconds : 0;
    this.element.dataset.broken = this.outage ? this.outage.how : "no";
    this.mend.hidden = !this.outage;
    for (const node of this.breakers) {
      node.hidden = Boolean(this.outage);
    }
    this.tick(now);
  }

  tick(now) {
    if (!this.outage) {
      setText(this.health, "answers normally");
      setText(this.label, "Break it for a minute");
      return;
    }
    setText(this.health, `answers ${this.outage.status}`);
    const left = Math.max(0, Math.ceil(this.until - now));
    setText(this.label, `It ${BROKEN[this.outage.how]}, for ${left} s more`);
  }
}
