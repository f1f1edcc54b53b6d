// One video of a constant frame rate, frame by frame. Frame k is the picture that is shown from k / fps on.

class Player {
  /**
   * @param {HTMLVideoElement} video
   * @param {number} fps frames per second
   * @param {number} frames how many there are
   * @param {(frame: number) => void} onFrame called whenever a frame is on the element, ready to be drawn
   * @param {() => void} onState called when playing begins or ends
   */
  constructor(video, fps, frames, onFrame, onState) {
    Object.assign(this, { video, fps, frames, onFrame, onState });
    this.frame = 0;
    this.sought = null;
    video.addEventListener("loadedmetadata", () => this.show(this.frame)); // phones load no picture before it is sought
    video.addEventListener("loadeddata", () => this.present(this.wanted ?? this.frame));
    video.addEventListener("seeked", () => this.arrived());
    for (const name of ["play", "pause", "ended"]) video.addEventListener(name, () => this.onState());
    this.watch();
  }

  get playing() {
    return !this.video.paused && !this.video.ended;
  }

  /** Pause, and show a frame; while the video still seeks, the last frame that was asked for wins. */
  show(frame) {
    this.video.pause();
    this.wanted = Math.min(Math.max(Math.round(frame), 0), this.frames - 1);
    this.frame = this.wanted;
    if (this.sought === null) this.seek();
  }

  toggle() {
    if (this.playing) return this.video.pause();
    if (this.frame >= this.frames - 1) this.video.currentTime = 0;
    this.wanted = null;
    this.video.play().catch(() => this.onState()); // a browser may refuse sound before the first click
  }

  seek() {
    this.sought = this.wanted;
    this.video.currentTime = (this.sought + 0.5) / this.fps; // the middle: no rounding leads to a neighbour
  }

  arrived() {
    const reached = this.sought;
    this.sought = null;
    if (reached === null || this.wanted === null || this.wanted === undefined) return;
    this.onFrame(reached);
    if (reached !== this.wanted) this.seek();
  }

  present(frame) {
    this.frame = Math.min(Math.max(frame, 0), this.frames - 1);
    this.onFrame(this.frame);
  }

  /** Follow the frames that the browser shows: exactly by their time stamps, by the clock in old browsers. */
  watch() {
    if (this.closed) return;
    if (this.video.requestVideoFrameCallback) {
      this.video.requestVideoFrameCallback((_, shown) => {
        const frame = Math.round(shown.mediaTime * this.fps);
        if (this.playing || frame === this.frame) this.present(frame); // a late frame of an older seek is not shown
        this.watch();
      });
    } else {
      requestAnimationFrame(() => {
        const frame = Math.floor(this.video.currentTime * this.fps + 1e-3);
        if (this.playing && frame !== this.frame) this.present(frame);
        this.watch();
      });
    }
  }

  close() {
    this.closed = true;
    this.video.pause();
    this.video.removeAttribute("src");
    this.video.load();
  }
}
