// The latest requests, and how each was answered.

import { NAMES, byId, clock, make } from "./dom.js";

const UNANSWERED = {
  hang: "hangs",
  drop: "cut off",
  lose_answer: "answer lost",
  delay: "slow",
  land_late: "late",
};

export function showRequests(requests) {
  byId("no-requests").hidden = requests.length > 0;
  byId("requests").replaceChildren(...requests.map(line));
}

function line(request) {
  const item = make("li", "request");
  const answered = request.status !== null;
  item.dataset.outcome = !answered ? "none" : request.status < 300 ? "accepted" : "refused";
  const answer = answered ? String(request.status) : (UNANSWERED[request.fault] ?? "…");
  const what = make("span", "asked");
  what.append(make("b", "", request.action), " ", make("bdi", "about", request.about));
  item.append(make("span", "answer", answer), what, make("span", "who", NAMES[request.provider] ?? "unknown"));
  item.title = `${clock(request.at)} ${request.about}`;
  return item;
}
