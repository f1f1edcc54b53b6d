// A clip, its questions, the way on (reports/player.py mounts it and checks what it sends).

// part of a clip that must be watched; the store asks for the same (kpbe/survey/store/answers.py)
const WIDE_ENOUGH = 0.9;

class Rating extends Page {
  close() {
    this.film.close();
    super.close();
  }

  // -- what does not change from clip to clip

  build() {
    this.film = new Film({
      ended: (play) => this.ended(play),
      failed: () => this.tell(this.data.texts.failed, true),
      retried: () => this.tell(this.data.texts[this.heard ? "rate" : "play_first"]),
    });
    this.scales = make("div", "questions");
    this.say = make("p", "say");
    this.say.setAttribute("role", "status");
    this.go = make("button", "go");
    this.go.type = "submit";
    const onward = make("div", "onward");
    onward.append(this.say, this.go);
    this.keys = new Keys();
    this.form = make("form", "questions");
    this.form.noValidate = true;
    this.form.append(this.scales, onward, this.keys.root);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.form.addEventListener("change", (event) => this.choose(event.target.name, Number(event.target.value)));

    const sheet = make("div", "sheet");
    sheet.append(this.film.stage, this.form);
    this.root.replaceChildren(this.way.root, sheet);
  }

  // -- a new clip, or news about this one

  show(data, send) {
    this.send = send;
    const same = this.data && this.data.item === data.item && this.data.language === data.language;
    this.data = data;
    if (!same) this.begin();
    if (data.heard) this.unlock();
    if (data.problem && data.problem.number !== this.problem) {
      this.problem = data.problem.number;
      this.stopWaiting(data.problem.text);
    }
  }

  begin() {
    const { data } = this;
    clearTimeout(this.timer);
    Object.assign(this, { plays: [], answers: {}, heard: false, told: false, sending: false });
    this.root.lang = data.language;
    this.way.show(data.caption, data.progress, data.texts.progress);
    this.way.track.setAttribute("aria-valuetext", data.caption);
    this.keys.show(data.keys);
    this.scales.replaceChildren(...data.questions.map((question) => this.question(question)));
    this.scales.className = "questions locked";
    this.fields().forEach((field) => { field.disabled = true; });
    this.tell(data.texts.play_first);
    this.render();
    this.film.load(data.url, data.next, data.texts, data.heard);
    this.film.cover.focus({ preventScroll: true }); // not on the button that led here
    if (this.root.getBoundingClientRect().top < 0) this.root.scrollIntoView();
  }

  question({ name, label, hint }) {
    const field = make("fieldset", "question");
    field.dataset.name = name;
    field.tabIndex = -1;
    const below = make("p", "hint", hint);
    below.id = `hint-${name}`;
    field.setAttribute("aria-describedby", below.id);
    const scale = make("div", "scale");
    scale.append(...this.data.scale.map(({ score, word }) => this.choice(name, score, word)));
    const reply = make("p", "reply");
    reply.hidden = true;
    field.append(make("legend", "", label), below, scale, reply);
    return field;
  }

  choice(name, score, word) {
    const input = make("input");
    Object.assign(input, { type: "radio", name, value: String(score) });
    const pill = make("span", "pill");
    pill.append(make("b", "", String(score)), make("span", "", word));
    const label = make("label");
    label.append(input, pill);
    return label;
  }

  fields() {
    return [...this.scales.children];
  }

  tell(text, alert = false) {
    this.say.textContent = text;
    this.say.classList.toggle("alert", alert);
  }

  render() {
    const { texts } = this.data;
    const ready = this.heard && !this.unanswered() && !this.sending;
    this.go.setAttribute("aria-disabled", String(!ready));
    this.go.textContent = this.sending ? texts.saving : this.told ? texts.go_on : texts.next;
  }

  // -- played

  ended(play) {
    this.plays.push(play);
    if (play.watched < WIDE_ENOUGH && !this.heard) {
      this.tell(this.data.texts.play_first, true);
    } else {
      this.unlock();
      this.heardAt = performance.now(); // a replay is no part of the time that an answer takes
      (this.unanswered() || this.go).focus({ preventScroll: true }); // the pressed button was hidden meanwhile
    }
    this.send("played", { item: this.data.item, plays: this.plays });
  }

  unlock() {
    if (this.heard) return;
    this.heard = true;
    this.heardAt = performance.now();
    this.scales.classList.remove("locked");
    this.fields().forEach((field) => { field.disabled = false; });
    this.film.see();
    this.tell(this.data.texts.rate);
    this.render();
  }

  // -- answering

  unanswered() {
    return this.fields().find((field) => !(field.dataset.name in this.answers));
  }

  choose(name, score) {
    if (!this.heard || this.told || this.sending) return;
    this.answers[name] = score;
    this.tell(this.data.texts[this.unanswered() ? "rate" : "ready"]);
    this.render();
  }

  submit() {
    const { data } = this;
    if (this.sending || !data) return;
    if (!this.heard) {
      this.tell(data.texts.play_first, true);
    } else if (this.unanswered()) {
      this.tell(data.texts.missing, true);
      this.unanswered().focus({ preventScroll: true });
    } else if (data.expected && !this.told) {
      this.feedback();
    } else {
      this.sending = true;
      this.render();
      this.timer = setTimeout(() => this.stopWaiting(data.texts.not_saved), PATIENCE_MS);
      const seconds = ((this.told ? this.toldAt : performance.now()) - this.heardAt) / 1000;
      this.send("answered", { item: data.item, plays: this.plays, answers: this.answers, response_seconds: seconds });
    }
  }

  // Training: what was expected, below each answer; the answers stay as they were given.
  feedback() {
    this.told = true;
    this.toldAt = performance.now();
    this.scales.classList.add("told");
    const said = [];
    for (const field of this.fields()) {
      field.querySelectorAll("input").forEach((input) => { input.disabled = true; });
      const expected = this.data.expected[field.dataset.name];
      if (!expected) continue;
      const score = this.answers[field.dataset.name];
      const reply = field.querySelector(".reply");
      reply.textContent = `${expected.text} ${expected.replies[score]}`;
      reply.classList.add(score >= expected.low && score <= expected.high ? "fits" : "differs");
      reply.hidden = false;
      said.push(`${field.querySelector("legend").textContent}: ${reply.textContent}`);
    }
    this.tell("");
    this.say.append(make("span", "unseen", said.join(" ")));
    this.render();
    this.go.focus({ preventScroll: true });
  }

  stopWaiting(text) {
    clearTimeout(this.timer);
    this.sending = false;
    this.render();
    this.tell(text, true);
  }

  // -- keys: Space plays, 1 to 5 answer the focused (else the first open) question, Enter goes on

  key(event) {
    const target = keyTarget(event);
    if (!target || this.keys.off) return;
    const onButton = target instanceof HTMLButtonElement;
    if (event.key === " " && !onButton && !(target instanceof HTMLInputElement)) {
      event.preventDefault();
      if (!this.sending) this.film.press();
    } else if (event.key === "Enter" && !onButton) {
      event.preventDefault();
      this.submit();
    } else if (/^[1-5]$/.test(event.key) && this.heard && !this.told && !this.sending) {
      event.preventDefault();
      this.rate(Number(event.key));
    }
  }

  rate(score) {
    const field = this.root.getRootNode().activeElement?.closest(".question") || this.unanswered() || this.fields().at(-1);
    field.querySelector(`input[value="${score}"]`).checked = true;
    this.choose(field.dataset.name, score);
    (this.fields()[this.fields().indexOf(field) + 1] || field).focus();
  }
}

export default mounted(Rating);
