// What the raters' components share; reports/player.py puts it in front of each of them.

const TRIANGLE = "M8 5v14l11-7z";
const ROUND_ARROW = "M12 5V1L7 6l5 5V7a6 6 0 1 1-6 6H4a8 8 0 1 0 8-8z";
const PATIENCE_MS = 8000; // until what the server did not confirm may be sent again

// Streamlit calls a component's default export at every change of its data, always with the same parentElement, and what that
// returned last when the component goes away: one object of `Kind` a mounted component keeps the state between the calls.
function mounted(Kind) {
  const known = new WeakMap();
  return ({ parentElement, data, setTriggerValue }) => {
    if (!data) return undefined;
    if (!known.has(parentElement)) known.set(parentElement, new Kind(parentElement.querySelector(".survey")));
    known.get(parentElement).show(data, setTriggerValue);
    return () => {
      known.get(parentElement)?.close();
      known.delete(parentElement);
    };
  };
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// A component that fills its root and listens to keys. A kind of it builds its elements in `build`, hears keys in `key`.
class Page {
  constructor(root) {
    this.root = root;
    this.way = new Way();
    this.build();
    this.onKey = (event) => this.key(event);
    window.addEventListener("keydown", this.onKey);
  }

  close() {
    window.removeEventListener("keydown", this.onKey);
    clearTimeout(this.timer);
    this.root.replaceChildren();
  }
}

// Where the rater is: a caption and a progress bar beside it.
class Way {
  constructor() {
    this.caption = make("span", "caption");
    this.done = make("div", "done");
    this.track = make("div", "track");
    this.track.setAttribute("role", "progressbar");
    this.track.setAttribute("aria-valuemin", "0");
    this.track.setAttribute("aria-valuemax", "100");
    this.track.append(this.done);
    this.root = make("div", "way");
    this.root.append(this.caption, this.track);
  }

  show(caption, progress, label) {
    this.caption.textContent = caption;
    this.done.style.width = `${100 * progress}%`;
    this.track.setAttribute("aria-valuenow", String(Math.round(100 * progress)));
    this.track.setAttribute("aria-label", label);
  }
}

function icon(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  svg.firstChild.setAttribute("d", path);
  return svg;
}

// The element that a key was pressed on, null where the key is not ours: with a modifier, held down, or typed into a field.
function keyTarget(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return null;
  const target = event.composedPath()[0];
  if (!(target instanceof Element)) return document.body;
  return target.matches("textarea, select, [contenteditable], input:not([type=radio])") ? null : target;
}

// The line that names the keys, with a button that turns them off and on: who dictates presses keys without meaning to (WCAG 2.1.4).
const KEYS_OFF = "survey-keys-off";

class Keys {
  constructor() {
    this.off = Boolean(remembered(KEYS_OFF));
    this.names = make("span");
    this.turn = make("button", "turn");
    this.turn.type = "button";
    this.turn.addEventListener("click", () => {
      this.off = !this.off;
      remember(KEYS_OFF, this.off ? "yes" : "");
      this.render();
    });
    this.root = make("p", "keys");
    this.root.append(this.names, " ", this.turn);
  }

  show(texts) {
    this.texts = texts;
    this.render();
  }

  render() {
    this.names.textContent = this.off ? this.texts.are_off : this.texts.keys;
    this.turn.textContent = this.off ? this.texts.turn_on : this.texts.turn_off;
  }
}

// A browser may refuse to remember.
function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

function remember(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch { /* then it holds until the page is left */ }
}
