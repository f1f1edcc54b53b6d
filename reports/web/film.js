// A video that is played from its beginning to its end, as often as wished, without winding forward.

// Whole files, so that a slow line never makes a clip stumble while it is watched: at most this one and the next are kept.
class Files {
  constructor() {
    this.kept = new Map();
  }

  get(url) {
    if (!this.kept.has(url)) {
      const file = fetch(url)
        .then((answer) => (answer.ok ? answer.blob() : Promise.reject(new Error(`${answer.status}`))))
        .then((blob) => URL.createObjectURL(blob));
      this.kept.set(url, file);
      file.catch(() => this.kept.delete(url));
    }
    return this.kept.get(url);
  }

  keepOnly(urls) {
    for (const [url, file] of this.kept) {
      if (urls.includes(url)) continue;
      this.kept.delete(url);
      file.then((address) => URL.revokeObjectURL(address), () => {});
    }
  }
}

class Film {
  // `on.ended(play)` after every play, `on.failed()` when the file cannot be loaded or shown, `on.retried()` when it is tried again
  constructor(on) {
    this.on = on;
    this.files = new Files();
    this.video = make("video");
    Object.assign(this.video, { playsInline: true, preload: "auto", disablePictureInPicture: true, disableRemotePlayback: true });
    this.cover = make("button", "cover");
    this.cover.type = "button";
    this.disc = make("span", "disc");
    this.label = make("span", "label");
    this.cover.append(this.disc, this.label);
    this.line = make("div", "line");
    this.line.append(make("i"));
    this.stage = make("div", "stage");
    this.stage.append(this.video, this.cover, this.line);
    this.cover.addEventListener("click", () => this.press());
    this.onHide = () => document.hidden && this.video.pause(); // what nobody sees does not count as watched
    document.addEventListener("visibilitychange", this.onHide);
    this.listen();
  }

  close() {
    document.removeEventListener("visibilitychange", this.onHide);
    this.video.pause();
    this.files.keepOnly([]);
  }

  // -- a file

  async load(url, next, texts, seen) {
    Object.assign(this, { url, next, texts, seen, play: null, last: 0 });
    this.video.setAttribute("aria-label", texts.video);
    this.video.removeAttribute("src");
    this.files.keepOnly([url, next]);
    this.render("loading");
    try {
      const address = await this.files.get(url);
      if (this.url !== url) return;
      this.video.src = address;
      this.render(this.seen ? "again" : "play");
      if (next) this.files.get(next).catch(() => {});
    } catch {
      if (this.url === url) this.fail();
    }
  }

  fail() {
    this.play = null;
    this.render("retry");
    this.on.failed();
  }

  // Mark the film as seen before (elsewhere, or before a refresh).
  see() {
    this.seen = true;
    if (this.state === "play") this.render("again");
  }

  render(state) {
    this.state = state;
    this.cover.hidden = state === "playing";
    this.line.hidden = state === "loading" || state === "retry";
    if (this.cover.hidden) return;
    this.cover.dataset.state = state;
    this.cover.setAttribute("aria-disabled", String(state === "loading"));
    this.disc.replaceChildren(icon(state === "again" || state === "retry" ? ROUND_ARROW : TRIANGLE));
    this.label.textContent = this.texts[state];
  }

  // -- playing it

  press() {
    if (this.state === "loading" || this.state === "playing") return;
    if (this.state === "retry") {
      this.on.retried();
      this.load(this.url, this.next, this.texts, this.seen);
      return;
    }
    if (!this.play) {
      this.video.currentTime = 0;
      this.last = 0;
      this.play = { play_id: newName(), watched: 0, begun: performance.now(), dropped: this.dropped() };
    }
    this.video.volume = 1;
    this.video.muted = false;
    this.video.play().catch((error) => error.name !== "AbortError" && this.fail());
  }

  dropped() {
    return this.video.getVideoPlaybackQuality ? this.video.getVideoPlaybackQuality().droppedVideoFrames : null;
  }

  listen() {
    const { video } = this;
    video.addEventListener("loadedmetadata", () => {
      if (video.videoWidth) this.stage.style.aspectRatio = `${video.videoWidth} / ${video.videoHeight}`;
    });
    video.addEventListener("play", () => {
      this.render("playing");
      this.follow();
    });
    video.addEventListener("pause", () => this.play && !video.ended && this.render("resume"));
    video.addEventListener("timeupdate", () => this.advance());
    video.addEventListener("seeking", () => {
      if (video.currentTime > this.last + 0.3) video.currentTime = this.last; // media keys can try
    });
    video.addEventListener("ratechange", () => {
      if (video.playbackRate !== 1) video.playbackRate = 1;
    });
    video.addEventListener("ended", () => this.ended());
    video.addEventListener("error", () => video.getAttribute("src") && this.fail());
  }

  advance() {
    if (!this.play || this.video.seeking) return;
    this.play.watched += Math.max(0, this.video.currentTime - this.last);
    this.last = this.video.currentTime;
  }

  follow() {
    const { currentTime, duration, paused } = this.video;
    this.line.firstChild.style.width = `${(100 * currentTime) / (duration || 1)}%`;
    if (!paused) requestAnimationFrame(() => this.follow());
  }

  ended() {
    const { play, video } = this;
    if (!play) return;
    this.advance();
    const dropped = this.dropped();
    this.play = null;
    this.render("again");
    this.line.firstChild.style.width = "100%";
    this.on.ended({
      play_id: play.play_id,
      watched: Math.min(1, play.watched / (video.duration || 1)),
      ended: true,
      seconds: (performance.now() - play.begun) / 1000,
      dropped: dropped === null ? null : Math.max(0, dropped - play.dropped),
    });
  }
}

function newName() {
  // not crypto.randomUUID, which only exists where the page came by https
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

