// A metric over the frames of a clip: a line for each method, a cursor at the frame that is shown; a click seeks.

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = { left: 40, right: 10, top: 10, bottom: 20 };
const CURVE_HEIGHT = 150;

class Curves {
  /**
   * @param {HTMLElement} place where the chart goes
   * @param {{name: string, heading: string, decimals: number, lines: {id: string, values: (number|null)[]}[]}} metric
   * @param {{fps: number, frames: number, source: number|null}} clip
   * @param {Map<string, {color: string, dash: string}>} styles by method
   * @param {(frame: number) => void} onSeek
   */
  constructor(place, metric, clip, styles, onSeek) {
    Object.assign(this, { metric, clip, styles, onSeek, shown: new Set(), frame: 0 });
    this.figure = document.createElement("figure");
    this.figure.className = "curve";
    this.figure.innerHTML = "<figcaption></figcaption><svg role='img'></svg>";
    this.figure.querySelector("figcaption").textContent = metric.heading;
    this.svg = this.figure.querySelector("svg");
    this.svg.setAttribute("aria-label", metric.heading + "; click to go to a frame");
    place.append(this.figure);
    this.svg.addEventListener("pointerdown", (event) => {
      this.svg.setPointerCapture(event.pointerId);
      this.onSeek(this.frameAt(event));
    });
    this.svg.addEventListener("pointermove", (event) => {
      if (event.buttons) this.onSeek(this.frameAt(event));
    });
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.figure);
  }

  show(shown) {
    this.shown = shown;
    this.draw();
  }

  /** Move the cursor. */
  at(frame) {
    this.frame = frame;
    if (!this.cursor) return;
    const x = this.x(frame);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    for (const [line, dot] of this.dots) {
      const value = line.values[frame];
      dot.toggleAttribute("hidden", value === null || value === undefined);
      if (value === null || value === undefined) continue;
      dot.setAttribute("cx", x);
      dot.setAttribute("cy", this.y(value));
    }
  }

  x(frame) {
    return MARGIN.left + (frame / Math.max(this.clip.frames - 1, 1)) * (this.width - MARGIN.left - MARGIN.right);
  }

  y(value) {
    const share = (value - this.low) / (this.high - this.low);
    return CURVE_HEIGHT - MARGIN.bottom - share * (CURVE_HEIGHT - MARGIN.top - MARGIN.bottom);
  }

  frameAt(event) {
    const box = this.svg.getBoundingClientRect();
    const share = (event.clientX - box.left - MARGIN.left) / (this.width - MARGIN.left - MARGIN.right);
    return Math.round(share * (this.clip.frames - 1));
  }

  draw() {
    this.width = this.figure.clientWidth;
    const lines = this.metric.lines.filter((line) => this.shown.has(line.id));
    const values = lines.flatMap((line) => line.values.filter((value) => value !== null));
    this.svg.replaceChildren();
    this.cursor = null;
    if (!this.width || !values.length) return;
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${CURVE_HEIGHT}`);
    this.svg.setAttribute("height", CURVE_HEIGHT);
    const steps = ticks(Math.min(...values), Math.max(...values), 4);
    this.low = steps[0];
    this.high = steps[steps.length - 1];
    const right = this.width - MARGIN.right;
    for (const value of steps) {
      const y = this.y(value);
      this.add("line", { class: "grid", x1: MARGIN.left, x2: right, y1: y, y2: y });
      const digits = Math.max(0, Math.min(3, -Math.floor(Math.log10(steps[1] - steps[0]) + 1e-9)));
      this.add("text", { class: "tick", x: MARGIN.left - 6, y: y + 3.5, "text-anchor": "end" }, value.toFixed(digits));
    }
    const seconds = (this.clip.frames - 1) / this.clip.fps;
    for (const second of ticks(0, seconds, 5).filter((second) => second <= seconds)) {
      const anchor = second === 0 ? "start" : "middle";
      const unit = second === 0 ? " s" : "";
      const x = this.x(second * this.clip.fps);
      this.add("text", { class: "tick", x, y: CURVE_HEIGHT - 4, "text-anchor": anchor }, +second.toFixed(2) + unit);
    }
    if (this.clip.source !== null) {
      const x = this.x(this.clip.source);
      const rule = this.add("line", { class: "source", x1: x, x2: x, y1: MARGIN.top, y2: CURVE_HEIGHT - MARGIN.bottom });
      rule.innerHTML = "<title>Here the source image was taken.</title>";
    }
    for (const line of lines) {
      const style = this.styles.get(line.id);
      this.add("path", { d: this.path(line.values), stroke: style.color, "stroke-dasharray": style.dash, fill: "none" });
    }
    this.cursor = this.add("line", { class: "cursor", y1: MARGIN.top, y2: CURVE_HEIGHT - MARGIN.bottom });
    this.dots = lines.map((line) => [line, this.add("circle", { r: 3.5, fill: this.styles.get(line.id).color })]);
    this.at(this.frame);
  }

  path(values) {
    let pen = "M";
    const parts = [];
    values.forEach((value, frame) => {
      if (value === null) {
        pen = "M";
        return;
      }
      parts.push(`${pen}${this.x(frame).toFixed(1)} ${this.y(value).toFixed(1)}`);
      pen = "L";
    });
    return parts.join("");
  }

  add(kind, attributes, text) {
    const element = document.createElementNS(SVG, kind);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    this.svg.append(element);
    return element;
  }

  close() {
    this.observer.disconnect();
  }
}

/** Round numbers that enclose low..high, about `count` steps. */
function ticks(low, high, count) {
  const span = Math.max(high - low, 1e-6);
  const power = 10 ** Math.floor(Math.log10(span / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= count);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}
