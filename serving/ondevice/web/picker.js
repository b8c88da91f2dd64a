// Search over titles: an editable combobox with a listbox of what matches.

const SHOWN = 8;

function plain(text) {
  return text
    .normalize("NFD")
    .replace(/\p{M}/gu, "")
    .toLowerCase();
}

// Every word of the query must start a word of the title; titles that start
// with the query come first, then those liked by more people.
export class Titles {
  #rows;

  constructor(model) {
    this.#rows = [];
    for (let row = 2; row < model.ids.length; row += 1) {
      const text = plain(model.title(row));
      this.#rows.push({
        row,
        text,
        words: ` ${text.replace(/[^\p{L}\p{N}]+/gu, " ")}`,
        count: model.counts[row] ?? 0,
      });
    }
    this.#rows.sort((a, b) => b.count - a.count || a.row - b.row);
  }

  popular(count) {
    return this.#rows.slice(0, count).map(({ row }) => row);
  }

  search(query, taken) {
    const start = plain(query.trim());
    const words = start.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
    if (!words.length) return [];
    const found = this.#rows.filter(
      (title) =>
        !taken.has(title.row) &&
        words.every((word) => title.words.includes(` ${word}`)),
    );
    const first = found.filter(({ text }) => text.startsWith(start));
    const rest = found.filter(({ text }) => !text.startsWith(start));
    return [...first, ...rest].slice(0, SHOWN).map(({ row }) => row);
  }
}

export class Picker {
  #active = -1;
  #rows = [];
  #turn = 0;
  #opened = Promise.resolve();

  // `search` may give its rows later; `noun` is one of what is searched.
  constructor({ noun = "title", ...given }) {
    Object.assign(this, { noun, ...given });
    const { input, list } = this;
    input.addEventListener("input", () => this.#open());
    input.addEventListener("focus", () => this.#open());
    input.addEventListener("blur", () => this.close());
    input.addEventListener("keydown", (event) => this.#key(event));
    // The field would lose its focus before the click arrives.
    list.addEventListener("pointerdown", (event) => event.preventDefault());
    list.addEventListener("click", (event) => {
      const option = event.target.closest("[role=option]");
      if (option) this.#take(Number(option.dataset.place));
    });
  }

  close() {
    this.#turn += 1;
    this.#rows = [];
    this.#active = -1;
    this.list.hidden = true;
    this.list.replaceChildren();
    this.input.setAttribute("aria-expanded", "false");
    this.input.removeAttribute("aria-activedescendant");
  }

  #open() {
    this.#opened = this.#show(this.input.value);
  }

  async #show(query) {
    this.#turn += 1;
    const turn = this.#turn;
    const rows = query.trim() ? await this.search(query) : [];
    // What was typed since has its own answer.
    if (turn !== this.#turn) return;
    this.close();
    if (!query.trim()) return;
    this.#rows = rows;
    if (!rows.length) {
      this.announce(`No ${this.noun} matches.`);
      const none = document.createElement("li");
      none.className = "none";
      none.setAttribute("role", "presentation");
      none.textContent = `No ${this.noun} matches`;
      this.list.append(none);
    }
    rows.forEach((row, place) => {
      const option = document.createElement("li");
      option.id = this.#id(place);
      option.dataset.place = place;
      option.setAttribute("role", "option");
      option.setAttribute("aria-selected", "false");
      option.append(...this.describe(row));
      this.list.append(option);
    });
    this.list.hidden = false;
    this.input.setAttribute("aria-expanded", String(rows.length > 0));
    if (rows.length) {
      const count = `${rows.length} ${this.noun}${rows.length > 1 ? "s" : ""}`;
      this.announce(`${count}. Use the arrow keys.`);
    }
  }

  #id(place) {
    return `${this.list.id}-${place}`;
  }

  async #key(event) {
    const { key } = event;
    if (event.isComposing) return;
    const down = key === "ArrowDown";
    if (down || key === "ArrowUp") {
      event.preventDefault();
      if (!this.#rows.length) this.#open();
      await this.#opened;
      const size = this.#rows.length;
      if (!size) return;
      const from = this.#active < 0 && !down ? 0 : this.#active;
      this.#mark((from + (down ? 1 : -1) + size) % size);
    } else if (key === "Enter" && this.input.value.trim()) {
      event.preventDefault();
      await this.#opened;
      if (this.#rows.length) this.#take(Math.max(this.#active, 0));
    } else if (key === "Escape") {
      if (this.list.hidden) this.input.value = "";
      this.close();
    } else if (key === "Backspace" && !this.input.value) {
      this.undo();
    }
  }

  #mark(place) {
    this.#active = place;
    Array.from(this.list.children).forEach((option, index) => {
      option.setAttribute("aria-selected", String(index === place));
      if (index === place) option.scrollIntoView({ block: "nearest" });
    });
    this.input.setAttribute("aria-activedescendant", this.#id(place));
  }

  #take(place) {
    const row = this.#rows[place];
    this.input.value = "";
    this.close();
    this.pick(row);
  }
}
