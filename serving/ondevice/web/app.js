// The page: picks, recommendations after each of them, and what went wrong.

import { BundleError, Model } from "./model.js";
import { button, cover, duration, element } from "./parts.js";
import { Picker, Titles } from "./picker.js";
import { connect } from "./server.js";

const SHOWN = 10;
const POPULAR = 8;
const $ = (id) => document.getElementById(id);

let model;
let server;
let titles;
let picks = [];
let turn = 0;

function named(row, className = "name") {
  const text = element("span", className, element("b", "", model.title(row)));
  const words = model.words(row).slice(0, 4).join(" · ");
  if (words) text.append(element("small", "", words));
  return text;
}

function announce(text) {
  $("live").textContent = text;
}

// What may not be picked once more.
function taken() {
  return new Set(model.repeats ? [] : picks);
}

function pick(row) {
  if (taken().has(row)) return;
  picks.push(row);
  update();
}

function drop(place) {
  picks.splice(place, 1);
  update();
  const left = $("history").querySelectorAll("button");
  (left[Math.min(place, left.length - 1)] ?? $("search")).focus();
}

function drawPicks() {
  $("history").replaceChildren(
    ...picks.map((row, place) => {
      const remove = button("remove", `Remove ${model.title(row)}`, "", () =>
        drop(place),
      );
      const entry = element("li", "", cover(model.title(row)), named(row), remove);
      entry.dataset.item = model.ids[row];
      return entry;
    }),
  );
  // The newest is the last.
  $("history").scrollTop = $("history").scrollHeight;
  const length = model.config.history_length;
  $("history-note").textContent = !picks.length
    ? "Nothing picked yet: the list is what the model suggests to anyone."
    : picks.length > length
      ? `The model reads the latest ${length} of your ${picks.length} picks.`
      : "";
  $("clear").hidden = !picks.length;
  $("popular").hidden = picks.length > 0;
}

function drawDevice(answer) {
  const best = answer.slice(0, SHOWN);
  const scores = best.map(({ score }) => score);
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  $("recommendations").replaceChildren(
    ...best.map(({ row, score }, place) => {
      const share = high > low ? (score - low) / (high - low) : 1;
      const bar = element("span", "bar");
      bar.setAttribute("aria-hidden", "true");
      bar.title = `score ${score.toFixed(3)}`;
      bar.style.setProperty("--share", 0.12 + 0.88 * share);
      const add = button("add", `Add ${model.title(row)} to what you like`, "", () => {
        pick(row);
        // The list is a new one: stay where the hand is.
        requestAnimationFrame(() => requestAnimationFrame(() => keep(place)));
      });
      const entry = element("li", "", cover(model.title(row)), named(row), bar, add);
      entry.dataset.item = model.ids[row];
      return entry;
    }),
  );
  if (!best.length) {
    $("recommendations").append(
      element("li", "empty", "Nothing is left to recommend."),
    );
  }
}

function keep(place) {
  if (document.activeElement !== document.body) return;
  const buttons = $("recommendations").querySelectorAll("button");
  (buttons[Math.min(place, buttons.length - 1)] ?? $("search")).focus();
}

async function drawServer(ticket, history, mine) {
  let answer;
  try {
    answer = await server.recommend(history.map((row) => model.ids[row]));
  } catch (error) {
    if (ticket !== turn) return;
    $("server-results").replaceChildren(
      element("li", "empty", `The server did not answer: ${error.message}`),
    );
    $("server-latency").textContent = "";
    $("agreement").hidden = true;
    return;
  }
  if (ticket !== turn) return;
  const best = answer.ids.slice(0, SHOWN);
  const same = new Set(mine);
  $("server-results").replaceChildren(
    ...best.map((id) => {
      const row = model.row(id);
      const known = row > 1;
      const entry = element(
        "li",
        same.has(id) ? "shared" : "",
        ...(known ? [cover(model.title(row)), named(row)] : [element("span", "name", id)]),
      );
      entry.dataset.item = id;
      if (same.has(id)) entry.append(element("span", "tag", "in both"));
      return entry;
    }),
  );
  const shared = best.filter((id) => same.has(id)).length;
  $("server-latency").textContent = duration(answer.milliseconds);
  $("agreement").textContent =
    `${shared} of ${best.length} titles are in both lists.`;
  $("agreement").hidden = false;
}

async function update() {
  turn += 1;
  const ticket = turn;
  const history = [...picks];
  drawPicks();
  const started = performance.now();
  let answer;
  try {
    answer = await model.recommend(history);
  } catch (error) {
    fail(error);
    return;
  }
  const elapsed = performance.now() - started;
  if (ticket !== turn) return;
  drawDevice(answer);
  $("answer-title").textContent = history.length ? "For you" : "For anyone";
  $("latency-value").textContent = duration(elapsed);
  $("latency").hidden = false;
  const best = answer.slice(0, SHOWN);
  const first = best.slice(0, 3).map(({ row }) => model.title(row));
  announce(
    `${best.length} recommendations from ${history.length} ` +
      `${history.length === 1 ? "pick" : "picks"}. ` +
      (first.length ? `First: ${first.join("; ")}.` : ""),
  );
  $("main").dataset.turn = ticket;
  if (server) {
    drawServer(ticket, history, best.map(({ row }) => model.ids[row]));
  }
}

function fail(error) {
  const known = error instanceof BundleError;
  $("problem-title").textContent = known
    ? error.message
    : "Something went wrong in this page.";
  $("problem-advice").textContent = known
    ? error.advice
    : "Reload it. If it happens again, the details below help to find out why.";
  $("problem-detail").textContent = String((known && error.cause) || error);
  $("problem").querySelector("details").hidden = known && !error.cause;
  $("problem").hidden = false;
  $("main").hidden = true;
  $("runtime").textContent = "The model is not running";
  document.body.dataset.state = "failed";
}

function facts() {
  const { config } = model;
  const size = `${(config.model_bytes / 1000).toFixed(0)} kB model`;
  const items = `${(model.ids.length - 2).toLocaleString("en")} titles`;
  const said = [
    size,
    items,
    `${config.encoder} encoder, ${config.precision}`,
    `${model.replayed} reference answers checked`,
    `bundle ${config.bundle_id}`,
  ];
  $("facts").replaceChildren(...said.map((text) => element("span", "", text)));
}

async function start() {
  model = await Model.load();
  titles = new Titles(model);
  $("search").disabled = false;
  new Picker({
    input: $("search"),
    list: $("options"),
    search: (query) => titles.search(query, taken()),
    describe: (row) => [cover(model.title(row)), named(row)],
    pick,
    undo: () => {
      if (!picks.length) return;
      picks.pop();
      update();
    },
    announce,
  });
  $("clear").addEventListener("click", () => {
    picks = [];
    update();
    $("search").focus();
  });
  $("popular-list").append(
    ...titles.popular(POPULAR).map((row) =>
      button("chip", `Add ${model.title(row)}`, model.title(row), () => {
        pick(row);
        $("search").focus();
      }),
    ),
  );
  facts();
  $("runtime").textContent = "Private: runs on this device";
  $("main").removeAttribute("aria-busy");
  await update();
  document.body.dataset.state = "ready";
  server = await connect();
  if (server) {
    $("runtime").textContent = "Compared: the server is sent your picks";
    $("lede").textContent =
      "Pick a few titles you like. The model runs in this page; so that you " +
      "can compare, the server this page was started with is asked as well.";
    document.body.dataset.compared = "";
    $("server").hidden = false;
    $("device-title").hidden = false;
    $("columns").classList.add("two");
    await update();
  }
}

start().catch(fail);
