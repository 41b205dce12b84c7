// What all parts of the page use: elements, times, and the one function that asks the sandbox to do something.
// Texts get into the page by textContent only, so that no event's text is ever markup.

export const NAMES = { pagerduty: "PagerDuty", opsgenie: "OpsGenie", jsm: "Jira Service Management" };

export function byId(id) {
  return document.getElementById(id);
}

export function make(tag, className, text = "") {
  const node = document.createElement(tag);
  node.className = className;
  node.textContent = text;
  return node;
}

export function button(className, text, whenPressed) {
  const node = make("button", className, text);
  node.type = "button";
  node.addEventListener("click", whenPressed);
  return node;
}

/** Change a text only if it differs, so that a selection, or a screen reader's place, is not lost. */
export function setText(node, text) {
  if (node.textContent !== text) {
    node.textContent = text;
  }
}

export function count(number, one, several = `${one}s`) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : several}`;
}

export function duration(seconds) {
  if (seconds < 60) {
    return `${Math.max(0, Math.floor(seconds))} s`;
  }
  if (seconds < 3600) {
    return `${Math.floor(seconds / 60)} min`;
  }
  return seconds < 86400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
}

export function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString("en-GB");
}

let hideNotice = 0;

export function tell(text) {
  const notice = byId("notice");
  notice.textContent = text;
  notice.hidden = false;
  clearTimeout(hideNotice);
  hideNotice = setTimeout(() => {
    notice.hidden = true;
  }, 6000);
}

/** Ask the sandbox to do something. The change is shown when it comes by the stream. */
export async function ask(what) {
  const token = document.querySelector("meta[name=token]").content;
  try {
    const answer = await fetch("/_sandbox/page/do", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Sandbox-Token": token },
      body: JSON.stringify(what),
    });
    const said = await answer.json();
    if (!answer.ok) {
      tell(said.error);
    } else if (!said.done) {
      tell("That is over already.");
    }
  } catch {
    tell("The sandbox does not answer.");
  }
}
