// The items' vectors in two dimensions, on a canvas.

import { element } from "./shared/parts.js";
import { ordinal } from "./names.js";

const $ = (id) => document.getElementById(id);
const MARGIN = 18;
// Values of a feature that get a colour of their own.
const COLOURS = 8;
const NEAR = 14;

export class Map2d {
  #map;
  #marks = { history: [], recommended: [] };
  #active = -1;

  constructor(map, { open }) {
    this.#map = map;
    this.canvas = $("map");
    this.rows = new Map(map.ids.map((id, row) => [id, row]));
    const names = Object.keys(map.features);
    $("colour").append(
      ...["nothing", ...names].map((name) => element("option", "", name)),
    );
    $("colour").value = names[0] ?? "nothing";
    $("colour").addEventListener("change", () => this.#draw());
    const share = (100 * map.share).toFixed(0);
    const some =
      map.ids.length < map.items
        ? ` The ${map.ids.length.toLocaleString("en")} most popular of ` +
          `${map.items.toLocaleString("en")} items.`
        : "";
    $("map-note").textContent =
      `Principal components of the candidate vectors; two dimensions keep ` +
      `${share} % of their variance, so what is close here need not be.${some} ` +
      "The arrow keys go from item to item, Enter tells more.";
    this.canvas.addEventListener("pointermove", (event) => {
      this.#show(this.#nearest(event.offsetX, event.offsetY));
    });
    this.canvas.addEventListener("pointerleave", () => this.#show(-1));
    this.canvas.addEventListener("click", (event) => {
      const row = this.#nearest(event.offsetX, event.offsetY);
      if (row >= 0) open(map.ids[row]);
    });
    this.canvas.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && this.#active >= 0) {
        // Else the key would press the first button of what opens.
        event.preventDefault();
        open(map.ids[this.#active]);
      }
      this.#step(event);
    });
    this.canvas.addEventListener("blur", () => this.#show(-1));
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
      this.#draw(),
    );
  }

  mark(history, recommended) {
    this.#marks = { history, recommended };
    this.canvas.setAttribute(
      "aria-label",
      `Map of ${this.#map.ids.length.toLocaleString("en")} items with ` +
        `${history.length} of the history and ${recommended.length} ` +
        "recommendations marked",
    );
    this.#draw();
  }

  #at(row) {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    return [
      width / 2 + (this.#map.x[row] * (width - 2 * MARGIN)) / 2,
      height / 2 - (this.#map.y[row] * (height - 2 * MARGIN)) / 2,
    ];
  }

  #nearest(x, y, reach = NEAR) {
    let [best, least] = [-1, reach ** 2];
    for (let row = 0; row < this.#map.ids.length; row += 1) {
      const [px, py] = this.#at(row);
      const square = (px - x) ** 2 + (py - y) ** 2;
      if (square < least) [best, least] = [row, square];
    }
    return best;
  }

  // To the closest item in the direction of an arrow.
  #step(event) {
    const [dx, dy] =
      {
        ArrowRight: [1, 0],
        ArrowLeft: [-1, 0],
        ArrowDown: [0, 1],
        ArrowUp: [0, -1],
      }[event.key] ?? [];
    if (dx === undefined) return;
    event.preventDefault();
    const { history, recommended } = this.#marks;
    const from =
      this.#active >= 0
        ? this.#active
        : (this.rows.get(recommended[0] ?? history[0]) ?? 0);
    if (this.#active < 0) {
      this.#show(from);
      return;
    }
    const [x, y] = this.#at(from);
    let [best, least] = [from, Infinity];
    for (let row = 0; row < this.#map.ids.length; row += 1) {
      const [px, py] = this.#at(row);
      const along = (px - x) * dx + (py - y) * dy;
      const aside = Math.abs((px - x) * dy + (py - y) * dx);
      // Within half a right angle of the arrow.
      if (row === from || along <= 0 || aside > along) continue;
      const cost = along + aside;
      if (cost < least) [best, least] = [row, cost];
    }
    this.#show(best);
  }

  #show(row) {
    if (row === this.#active) return;
    this.#active = row;
    const { features, words, titles } = this.#map;
    const about = Object.keys(features)
      .map((name) => words[name][features[name][row]])
      .filter(Boolean);
    $("map-point").textContent =
      row < 0
        ? ""
        : [titles[row], ...about, `${ordinal(row + 1)} by popularity`].join(
            " · ",
          );
    this.#draw();
  }

  #draw() {
    const { canvas } = this;
    const scale = devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    const paint = canvas.getContext("2d");
    paint.scale(scale, scale);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    const dot = (row, radius) => {
      paint.beginPath();
      paint.arc(...this.#at(row), radius, 0, 2 * Math.PI);
    };
    const [chosen, common] = this.#common();
    const palette = common.map((_, place) => colour(`colour-${place + 1}`));
    // The rarest first, so that the popular ones stay in sight.
    for (let row = this.#map.ids.length - 1; row >= 0; row -= 1) {
      const place = common.indexOf(this.#map.features[chosen]?.[row]);
      paint.fillStyle = place < 0 ? colour("faint") : palette[place];
      paint.globalAlpha = place < 0 ? 0.7 : 0.6;
      dot(row, 2.5);
      paint.fill();
    }
    paint.globalAlpha = 1;
    this.#drawMarks(paint, colour, dot);
    this.#legend(chosen, common);
  }

  #drawMarks(paint, colour, dot) {
    // Each with its place in the list; unpopular items have no point.
    const rows = (ids) =>
      ids
        .map((id, index) => [this.rows.get(id), index + 1])
        .filter(([row]) => row !== undefined);
    paint.lineWidth = 1;
    for (const [row] of rows(this.#marks.history)) {
      const [x, y] = this.#at(row);
      paint.fillStyle = colour("ink");
      paint.strokeStyle = colour("card");
      paint.beginPath();
      paint.rect(x - 4, y - 4, 8, 8);
      paint.fill();
      paint.stroke();
    }
    paint.lineWidth = 2;
    paint.font = "600 11px system-ui, sans-serif";
    paint.textAlign = "center";
    paint.textBaseline = "middle";
    rows(this.#marks.recommended)
      .reverse()
      .forEach(([row, place]) => {
        paint.fillStyle = colour("accent");
        paint.strokeStyle = colour("card");
        dot(row, 9);
        paint.fill();
        paint.stroke();
        paint.fillStyle = colour("accent-ink");
        paint.fillText(String(place), ...this.#at(row));
      });
    if (this.#active >= 0) {
      paint.strokeStyle = colour("ink");
      dot(this.#active, 12);
      paint.stroke();
    }
  }

  // The chosen feature, and places of its most frequent values.
  #common() {
    const chosen = $("colour").value;
    const counts = new Map();
    for (const place of this.#map.features[chosen] ?? []) {
      if (place >= 0) counts.set(place, (counts.get(place) ?? 0) + 1);
    }
    const common = [...counts].sort((a, b) => b[1] - a[1]).slice(0, COLOURS);
    return [chosen, common.map(([place]) => place)];
  }

  #legend(chosen, common) {
    const key = (kind, text) => {
      const mark = element("span", `key ${kind}`);
      return element("li", "", mark, text);
    };
    const legend = common.map((place, index) =>
      key(`colour-${index + 1}`, this.#map.words[chosen][place]),
    );
    $("legend").replaceChildren(
      key("square", "history"),
      key("round", "recommended"),
      ...legend,
      ...(common.length ? [key("faint", "other")] : []),
    );
  }
}
