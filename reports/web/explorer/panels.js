// The pictures of one frame side by side: parts of one video in which all methods lie in a grid, seen through one lens.

const LARGEST_CANVAS = 720;
const DIFFERENCE_SIDE = 192;

class Panel {
  /**
   * @param {{id: string, name: string, color: string, dash: string, cell: number|null, image: string|null}} what
   * @param {{columns: number, rows: number}} grid how the methods lie in the video
   */
  constructor(what, grid) {
    Object.assign(this, what, { grid });
    this.figure = document.createElement("figure");
    this.figure.className = "panel";
    this.figure.dataset.panel = this.id;
    this.figure.innerHTML = "<canvas></canvas><figcaption><b></b><span></span></figcaption>";
    this.figure.querySelector("b").append(mark(this), this.name);
    this.canvas = this.figure.querySelector("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", this.name);
    this.note = this.figure.querySelector("span");
    if (this.image) {
      this.picture = new Image();
      this.picture.src = this.image;
    }
  }

  /** The part [x, y, width, height] of its source that a lens {x, y, side} (shares of the picture) shows. */
  part(video, lens) {
    const still = this.picture !== undefined;
    const width = still ? this.picture.naturalWidth : video.videoWidth / this.grid.columns;
    const height = still ? this.picture.naturalHeight : video.videoHeight / this.grid.rows;
    const column = still ? 0 : this.cell % this.grid.columns;
    const row = still ? 0 : Math.floor(this.cell / this.grid.columns);
    return [
      (column + lens.x - lens.side / 2) * width,
      (row + lens.y - lens.side / 2) * height,
      lens.side * width,
      lens.side * height,
    ];
  }

  paint(context, video, lens) {
    const from = this.picture ?? video;
    if (this.picture ? !this.picture.complete : video.readyState < 2) return;
    context.imageSmoothingQuality = "high";
    context.drawImage(from, ...this.part(video, lens), 0, 0, context.canvas.width, context.canvas.height);
  }

  draw(video, lens) {
    fit(this.canvas);
    this.paint(this.canvas.getContext("2d"), video, lens);
  }
}

/** What two panels differ in, times a gain. */
class Difference {
  constructor(panels, chosen, onChange) {
    Object.assign(this, { panels, id: "difference", name: "Difference" });
    this.figure = document.createElement("figure");
    this.figure.className = "panel";
    this.figure.dataset.panel = "difference";
    this.figure.innerHTML =
      "<canvas role='img' aria-label='Difference'></canvas><figcaption>" +
      "<div class='pair'><select aria-label='First picture'></select>−<select aria-label='Second picture'></select></div>" +
      "<span></span><label class='gain'>gain <input type='range' min='1' max='16' step='1' aria-label='Gain'> <output></output></label></figcaption>";
    this.canvas = this.figure.querySelector("canvas");
    this.note = this.figure.querySelector("span");
    const [first, second] = this.figure.querySelectorAll("select");
    const gain = this.figure.querySelector("input");
    for (const select of [first, second]) {
      for (const panel of panels) select.add(new Option(panel.name, panel.id));
      select.addEventListener("change", () => onChange({ first: first.value, second: second.value }));
    }
    gain.addEventListener("input", () => onChange({ gain: Number(gain.value) }));
    Object.assign(this, { first, second, gain, output: this.figure.querySelector("output") });
    this.scratch = [0, 1].map(() => new OffscreenCanvas(DIFFERENCE_SIDE, DIFFERENCE_SIDE));
    this.set(chosen);
  }

  set({ first, second, gain }) {
    this.first.value = first;
    this.second.value = second;
    this.gain.value = gain;
    this.output.textContent = `×${gain}`;
  }

  draw(video, lens) {
    const pixels = [this.first.value, this.second.value].map((id, index) => {
      const context = this.scratch[index].getContext("2d", { willReadFrequently: true });
      const panel = this.panels.find((panel) => panel.id === id);
      panel.paint(context, video, lens(panel));
      return context.getImageData(0, 0, DIFFERENCE_SIDE, DIFFERENCE_SIDE);
    });
    const [a, b] = pixels.map((image) => image.data);
    const gain = Number(this.gain.value);
    let sum = 0;
    for (let at = 0; at < a.length; at += 4) {
      for (let channel = at; channel < at + 3; channel++) {
        const difference = Math.abs(a[channel] - b[channel]);
        sum += difference;
        a[channel] = difference * gain;
      }
      a[at + 3] = 255;
    }
    this.canvas.width = this.canvas.height = DIFFERENCE_SIDE;
    this.canvas.getContext("2d").putImageData(pixels[0], 0, 0);
    this.mean = sum / (0.75 * a.length);
    this.note.textContent = `mean ${this.mean.toFixed(1)} of 255`;
  }
}

/** A short line in a method's colour and dash, as its curves have it. */
function mark({ color, dash }) {
  const sample = document.createElementNS(SVG, "svg");
  sample.setAttribute("class", "mark");
  sample.setAttribute("viewBox", "0 0 18 6");
  sample.setAttribute("aria-hidden", "true");
  if (color) {
    const line = document.createElementNS(SVG, "line");
    const values = { x1: 1, x2: 17, y1: 3, y2: 3, stroke: color, "stroke-width": 3, "stroke-dasharray": dash };
    for (const [name, value] of Object.entries(values)) line.setAttribute(name, value);
    sample.append(line);
  }
  return sample;
}

/** Give a canvas as many pixels as its place on the screen has. */
function fit(canvas) {
  const side = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
  const wanted = Math.min(Math.max(side, 16), LARGEST_CANVAS);
  if (canvas.width !== wanted || canvas.height !== wanted) canvas.width = canvas.height = wanted;
}
