// The headphone check (reports/headphones.py mounts it): play three tones, choose the softest. Without choices: set the volume.

function refreshRate(frames = 30) {
  return new Promise((done) => {
    let first = 0;
    let count = 0;
    const step = (now) => {
      first = first || now;
      if (count === frames) done(Math.round((1000 * frames) / Math.max(1, now - first)));
      else {
        count += 1;
        requestAnimationFrame(step);
      }
    };
    requestAnimationFrame(step);
  });
}

class Check extends Page {
  close() {
    this.audio.pause();
    super.close();
  }

  build() {
    this.hz = 0;
    refreshRate().then((hz) => { this.hz = hz; });
    this.lead = make("p", "ask");
    this.sound = make("button", "sound");
    this.sound.type = "button";
    this.disc = make("span", "disc");
    this.label = make("span");
    this.sound.append(this.disc, this.label);
    this.tones = make("div", "tones");
    this.tones.setAttribute("role", "group");
    this.say = make("p", "say");
    this.say.setAttribute("role", "status");
    this.go = make("button", "go");
    this.go.type = "button";
    const onward = make("div", "onward");
    onward.append(this.say, this.go);
    this.keys = new Keys();
    this.audio = make("audio");
    this.audio.preload = "auto";
    const ears = make("div", "ears");
    ears.append(this.lead, this.sound, this.tones, onward, this.keys.root);
    this.root.replaceChildren(this.way.root, ears, this.audio);
    this.sound.addEventListener("click", () => this.play());
    this.go.addEventListener("click", () => this.choose(0));
    this.audio.addEventListener("ended", () => this.ended());
    this.audio.addEventListener("error", () => this.audio.getAttribute("src") && this.fail());
  }

  show(data, send) {
    this.send = send;
    const same = this.data && ["trial", "try", "language"].every((name) => this.data[name] === data[name]);
    this.data = data;
    if (same) return;
    clearTimeout(this.timer);
    Object.assign(this, { plays: 0, heard: false, sending: false, playing: false });
    this.root.lang = data.language;
    this.way.root.hidden = !data.caption;
    this.way.show(data.caption, data.progress, data.caption);
    this.lead.textContent = data.lead;
    this.lead.id = "ask";
    this.tones.setAttribute("aria-labelledby", "ask");
    this.tones.hidden = !data.choices.length;
    this.tones.replaceChildren(...data.choices.map((word, place) => this.tone(word, place + 1)));
    this.go.hidden = data.choices.length > 0;
    this.go.textContent = data.texts.next;
    this.keys.show(data.keys);
    this.keys.root.hidden = this.tones.hidden;
    this.audio.src = data.sound;
    this.tell(data.texts.play_first);
    this.render();
  }

  tone(word, place) {
    const button = make("button", "tone");
    button.type = "button";
    button.append(make("b", "", String(place)), make("span", "", word));
    button.addEventListener("click", () => this.choose(place));
    return button;
  }

  tell(text, alert = false) {
    this.say.textContent = text;
    this.say.classList.toggle("alert", alert);
  }

  render() {
    const { texts } = this.data;
    const open = this.heard && !this.sending;
    for (const button of [...this.tones.children, this.go]) button.setAttribute("aria-disabled", String(!open));
    this.disc.replaceChildren(icon(this.plays ? ROUND_ARROW : TRIANGLE));
    this.label.textContent = this.playing ? texts.playing : this.plays ? texts.again : texts.play;
  }

  play() {
    if (this.playing || this.sending) return;
    this.playing = true;
    this.audio.currentTime = 0;
    this.audio.volume = 1;
    this.audio.play().then(() => this.follow(), (error) => error.name !== "AbortError" && this.fail());
    this.render();
  }

  follow() {
    const now = this.audio.currentTime;
    [...this.tones.children].forEach((button, place) => {
      const [start, end] = this.data.tones[place];
      button.classList.toggle("sounding", this.playing && now >= start && now < end);
    });
    if (this.playing) requestAnimationFrame(() => this.follow());
  }

  ended() {
    this.playing = false;
    this.plays += 1;
    this.heard = true;
    this.follow();
    this.tell(this.data.choices.length ? this.data.texts.choose : "");
    this.render();
  }

  fail() {
    this.playing = false;
    this.tell(this.data.texts.failed, true);
    this.render();
  }

  choose(choice) {
    if (this.sending || this.playing) return;
    if (!this.heard) {
      this.tell(this.data.texts.play_first, true);
      return;
    }
    this.sending = true;
    this.render();
    this.timer = setTimeout(() => {
      this.sending = false;
      this.render();
    }, PATIENCE_MS);
    const device = {
      width: screen.width,
      height: screen.height,
      ratio: window.devicePixelRatio || 1,
      hz: this.hz,
      touch: window.matchMedia("(hover: none)").matches,
    };
    this.send("heard", { trial: this.data.trial, choice, plays: this.plays, device });
  }

  key(event) {
    const target = keyTarget(event);
    if (!target || this.keys.off) return;
    const onButton = target instanceof HTMLButtonElement;
    const choice = this.data.choices.length ? Number(event.key) : 0;
    if (event.key === " " && !onButton) {
      event.preventDefault();
      this.play();
    } else if (event.key === "Enter" && !onButton && !this.data.choices.length) {
      event.preventDefault();
      this.choose(0);
    } else if (choice >= 1 && choice <= this.data.choices.length && Number.isInteger(choice)) {
      event.preventDefault();
      this.choose(choice);
    }
  }
}

export default mounted(Check);
