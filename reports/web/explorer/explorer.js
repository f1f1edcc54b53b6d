// The clip explorer: panels, transport and curves around one player. Streamlit calls the default export with new data.

const ICONS = {
  play: "M8 5v14l11-7z",
  pause: "M7 5h4v14H7zM13 5h4v14h-4z",
  back: "M6 6h2v12H6zM18 6v12l-8.5-6z",
  forth: "M16 6h2v12h-2zM6 6v12l8.5-6z",
  loop: "M7 7h10v3l4-4-4-4v3H5v6h2zM17 17H7v-3l-4 4 4 4v-3h12v-6h-2z",
  sound: "M4 9v6h4l5 4V5L8 9zM15.5 8.5a5 5 0 0 1 0 7l1.2 1.2a6.7 6.7 0 0 0 0-9.4z",
  silent: "M4 9v6h4l5 4V5L8 9zM21 9.4 19.6 8 17.5 10.1 15.4 8 14 9.4l2.1 2.1L14 13.6 15.4 15l2.1-2.1 2.1 2.1 1.4-1.4-2.1-2.1z",
};
const MEMORY = "kpbe explorer";

export default function (component) {
  const { data, parentElement } = component;
  const root = parentElement.querySelector(".explorer");
  const shown = JSON.stringify([data.video, data.backend]);
  if (root.explorer?.shown !== shown) {
    root.explorer?.close();
    root.explorer = new Explorer(root, data);
    root.explorer.shown = shown;
  }
  return () => setTimeout(() => {
    if (root.isConnected) return; // only new data
    root.explorer?.close();
    root.explorer = undefined;
  });
}

class Explorer {
  constructor(root, data) {
    Object.assign(this, { root, data });
    this.listening = new AbortController();
    this.video = root.querySelector("video");
    this.state = { ...this.initial(), ...remembered(data.backend) };
    this.panels = data.panels.map((what) => new Panel(what, data.grid));
    this.difference = new Difference(this.panels, this.state, (change) => this.change(change));
    root.querySelector(".panels").replaceChildren(...this.panels.map((panel) => panel.figure), this.difference.figure);
    this.video.src = location.origin + data.video;
    this.player = new Player(this.video, data.fps, data.frames, (frame) => this.draw(frame), () => this.buttons());
    const styles = new Map(this.panels.map((panel) => [panel.id, panel]));
    const clip = { fps: data.fps, frames: data.frames, source: data.source_frame };
    const place = root.querySelector(".curves");
    place.replaceChildren();
    this.curves = data.curves.map((metric) => new Curves(place, metric, clip, styles, (frame) => this.go(frame)));
    this.scrubber = root.querySelector(".scrubber");
    this.scrubber.max = data.frames - 1;
    this.chips();
    this.listen();
    this.resized = new ResizeObserver(() => this.draw(this.player.frame));
    this.resized.observe(root.querySelector(".panels"));
    for (const panel of this.panels) panel.picture?.addEventListener("load", () => this.draw(this.player.frame));
    this.change(this.state);
    root.dataset.ready = "true";
  }

  initial() {
    const { shown, compared } = this.data;
    return {
      shown, first: compared[0], second: compared[1], gain: 3,
      zoom: 1, follow: false, x: 0.5, y: 0.5, loop: true, muted: false, speed: 1,
    };
  }

  // -- state ----------------------------------------------------------------------------------------------------

  /** Take over a change of the state and show it. */
  change(change) {
    Object.assign(this.state, change);
    const { shown, zoom, follow, loop, muted, speed } = this.state;
    for (const panel of [...this.panels, this.difference]) panel.figure.hidden = !shown.includes(panel.id);
    for (const chip of this.root.querySelectorAll(".chips button")) {
      chip.setAttribute("aria-pressed", shown.includes(chip.dataset.panel));
    }
    this.difference.set(this.state);
    if (change.shown) for (const curves of this.curves) curves.show(new Set(shown));
    Object.assign(this.video, { loop, muted, playbackRate: speed, defaultPlaybackRate: speed });
    this.root.querySelector(".lens input").value = zoom;
    this.root.querySelector(".speed").value = speed;
    this.root.classList.toggle("zoomed", zoom > 1);
    const mouth = this.root.querySelector("[data-do=mouth]");
    mouth.hidden = !this.data.mouth;
    mouth.setAttribute("aria-pressed", follow);
    this.root.querySelector("[data-do=whole]").setAttribute("aria-pressed", zoom === 1);
    this.buttons();
    this.draw(this.player.frame);
    sessionStorage.setItem(MEMORY, JSON.stringify({ backend: this.data.backend, state: this.state }));
  }

  /** The square that a panel shows: its middle and side as shares of the picture. */
  lens(panel, frame) {
    const side = 1 / this.state.zoom;
    let { x, y } = this.state;
    const track = this.state.follow ? this.data.mouth?.tracks[panel.id] : undefined;
    if (track) [x, y] = track[Math.min(frame, track.length - 1)];
    const inside = (middle) => Math.min(Math.max(middle, side / 2), 1 - side / 2);
    return { x: inside(x), y: inside(y), side };
  }

  go(frame) {
    this.player.show(frame);
    this.read(this.player.frame);
  }

  // -- drawing --------------------------------------------------------------------------------------------------

  draw(frame) {
    for (const panel of this.panels) {
      if (!panel.figure.hidden) panel.draw(this.video, this.lens(panel, frame));
    }
    if (!this.difference.figure.hidden && this.video.readyState >= 2) {
      this.difference.draw(this.video, (panel) => this.lens(panel, frame));
    }
    this.read(frame);
  }

  /** Everything that tells which frame it is, and its scores. */
  read(frame) {
    const { frames, fps, curves } = this.data;
    this.scrubber.value = frame;
    this.scrubber.setAttribute("aria-valuetext", `frame ${frame} of ${frames - 1}`);
    this.root.querySelector(".clock").textContent = `${frame} of ${frames - 1} · ${(frame / fps).toFixed(2)} s`;
    this.root.dataset.frame = frame;
    for (const curve of this.curves) curve.at(frame);
    for (const panel of this.panels) {
      const scores = curves.map(({ name, decimals, lines }) => {
        const values = lines.find((line) => line.id === panel.id)?.values;
        if (!values || frame >= values.length) return "";
        return values[frame] === null ? `${name} –` : `${name} ${values[frame].toFixed(decimals)}`;
      });
      panel.note.textContent = scores.filter(Boolean).join(" · ");
    }
  }

  chips() {
    const made = [...this.panels, this.difference].map((panel) => {
      const chip = document.createElement("button");
      chip.type = "button";
      chip.dataset.panel = panel.id;
      chip.append(mark(panel), panel.name);
      return chip;
    });
    this.root.querySelector(".chips").replaceChildren(...made);
  }

  buttons() {
    const icons = {
      play: this.player.playing ? "pause" : "play",
      back: "back",
      forth: "forth",
      loop: "loop",
      sound: this.state.muted ? "silent" : "sound",
    };
    for (const [name, icon] of Object.entries(icons)) {
      const button = this.root.querySelector(`[data-do=${name}]`);
      if (button.dataset.icon !== icon) {
        button.dataset.icon = icon;
        button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${ICONS[icon]}"/></svg>`;
      }
    }
    this.root.querySelector("[data-do=play]").setAttribute("aria-label", this.player.playing ? "Pause" : "Play");
    this.root.querySelector("[data-do=loop]").setAttribute("aria-pressed", this.state.loop);
    this.root.querySelector("[data-do=sound]").setAttribute("aria-pressed", !this.state.muted);
  }

  // -- what people do -------------------------------------------------------------------------------------------

  do(name) {
    const zoom = this.data.mouth ? 1 / this.data.mouth.side : 1;
    const deeds = {
      play: () => this.player.toggle(),
      back: () => this.go(this.player.frame - 1),
      forth: () => this.go(this.player.frame + 1),
      back10: () => this.go(this.player.frame - 10),
      forth10: () => this.go(this.player.frame + 10),
      first: () => this.go(0),
      last: () => this.go(this.data.frames - 1),
      loop: () => this.change({ loop: !this.state.loop }),
      sound: () => this.change({ muted: !this.state.muted }),
      whole: () => this.change({ zoom: 1, follow: false, x: 0.5, y: 0.5 }),
      mouth: () => this.change({ zoom, follow: true }),
    };
    deeds[name]?.();
  }

  toggle(id) {
    const { shown } = this.state;
    this.change({ shown: shown.includes(id) ? shown.filter((other) => other !== id) : [...shown, id] });
  }

  listen() {
    const on = (element, name, react) => element.addEventListener(name, react, { signal: this.listening.signal });
    on(this.root, "click", (event) => {
      const button = event.target.closest("button");
      if (button?.dataset.panel) this.toggle(button.dataset.panel);
      else if (button) this.do(button.dataset.do);
    });
    on(this.scrubber, "input", () => this.go(Number(this.scrubber.value)));
    on(this.root.querySelector(".speed"), "change", (event) => this.change({ speed: Number(event.target.value) }));
    on(this.root.querySelector(".lens input"), "input", (event) => {
      const zoom = Number(event.target.value);
      this.change({ zoom, follow: this.state.follow && zoom > 1 });
    });
    on(this.root, "keydown", (event) => {
      if (event.target.matches("select") || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.target.matches("input") && event.target !== this.scrubber) return;
      const [small, large] = event.shiftKey ? ["back10", "forth10"] : ["back", "forth"];
      const keys = { ArrowLeft: small, ArrowRight: large, Home: "first", End: "last", " ": "play", l: "loop", m: "sound" };
      const name = keys[event.key] ?? keys[event.key.toLowerCase()];
      if (!name || (event.key === " " && event.target.matches("button"))) return;
      event.preventDefault();
      event.stopPropagation(); // Streamlit has keys of its own
      this.do(name);
    });
    for (const panel of [...this.panels, this.difference]) {
      on(panel.canvas, "pointerdown", (event) => this.drag(event, panel));
    }
  }

  /** Move the lens with a finger or the mouse; it stays there instead of following the mouth. */
  drag(start, panel) {
    if (this.state.zoom === 1) return;
    const lens = this.lens(panel, this.player.frame);
    const width = panel.canvas.clientWidth;
    panel.canvas.setPointerCapture(start.pointerId);
    panel.canvas.onpointermove = (event) => {
      const x = lens.x - ((event.clientX - start.clientX) / width) * lens.side;
      const y = lens.y - ((event.clientY - start.clientY) / width) * lens.side;
      this.change({ follow: false, x, y });
    };
    panel.canvas.onpointerup = panel.canvas.onpointercancel = () => (panel.canvas.onpointermove = null);
  }

  close() {
    this.listening.abort();
    this.resized.disconnect();
    for (const curve of this.curves) curve.close();
    this.player.close();
  }
}

/** What was chosen before, on another clip of the same backend. */
function remembered(backend) {
  try {
    const memory = JSON.parse(sessionStorage.getItem(MEMORY));
    return memory?.backend === backend ? memory.state : {};
  } catch {
    return {};
  }
}
