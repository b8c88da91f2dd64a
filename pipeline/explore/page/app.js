// The page: a question, the answers to it, and what went wrong.

import * as ask from "./ask.js";
import { Lists, placesOf } from "./lists.js";
import { Map2d } from "./map.js";
import { inOrder, titleOf } from "./names.js";
import { countText, standing, summary } from "./reasons.js";
import { Request } from "./request.js";
import { button, cover, element } from "./shared/parts.js";
import { Picker } from "./shared/picker.js";
import { drawStages } from "./stages.js";
import { Why } from "./why.js";

const LOOK_MS = 4000;
// Of what a user took next.
const TOLD = 3;
const $ = (id) => document.getElementById(id);

const items = new Map();
let about;
let question = { user: "", history: [], excluded: [], targets: [] };
let answer;
let turn = 0;
let served = "";
let lists;
let request;
let why;
let map;

const known = (id) =>
  items.get(id) ?? { id, title: id, features: {}, interactions: 0, place: 0 };
const titleOfItem = (id) => known(id).title;

function learn(found) {
  for (const item of found) items.set(item.id, item);
}

function named(item) {
  const text = element("span", "name", element("b", "", item.title));
  const words = Object.values(item.features).slice(0, 3).join(" · ");
  if (words) text.append(element("small", "", words));
  return text;
}

function announce(text) {
  $("live").textContent = text;
}

function taken(id) {
  return !about.repeats && question.history.includes(id);
}

function add(id) {
  if (taken(id)) return;
  question.history.push(id);
  question.excluded = question.excluded.filter((other) => other !== id);
  update(`Added ${titleOfItem(id)}`, id);
}

function drop(place) {
  const [id] = question.history.splice(place, 1);
  update(`Removed ${titleOfItem(id)}`);
  const left = $("history").querySelectorAll("button");
  (left[Math.min(place, left.length - 1)] ?? $("search")).focus();
}

function exclude(id) {
  if (!question.excluded.includes(id)) question.excluded.push(id);
  update(`${titleOfItem(id)} is never recommended`);
}

async function choose(id) {
  try {
    const { user, items: found } = await ask.user(id);
    learn(Object.values(found));
    question = { ...question, user: id, ...user, excluded: [] };
    // The id is the user's; the rest is what was asked for.
    update(`User ${id}`, undefined, true);
  } catch (error) {
    fail(error);
  }
}

function clear() {
  question = { user: "", history: [], excluded: [], targets: [], features: {} };
  update("Started over", undefined, true);
  $("search").focus();
}

function chips(where, ids, label, press) {
  $(`${where}-list`).replaceChildren(
    ...ids.map((id) =>
      button("chip", `${label} ${titleOfItem(id)}`, titleOfItem(id), () => {
        press(id);
        $("search").focus();
      }),
    ),
  );
  $(where).hidden = !ids.length;
}

function drawQuestion() {
  const { user, history, excluded, targets, features } = question;
  const words = Object.entries(features ?? {})
    .filter(([, value]) => value !== "" && value !== null)
    .map(([name, value]) => `${name.replace("user_", "")} ${value}`);
  $("who").replaceChildren(
    element("b", "", `User ${user}`),
    words.length ? ` · ${words.join(" · ")}` : "",
  );
  $("who").hidden = !user;
  $("history").replaceChildren(
    ...history.map((id, place) => {
      const item = known(id);
      const remove = button("remove", `Remove ${item.title}`, "", () =>
        drop(place),
      );
      const entry = element("li", "", cover(item.title), named(item), remove);
      entry.dataset.item = id;
      return entry;
    }),
  );
  // The newest is the last.
  $("history").scrollTop = $("history").scrollHeight;
  const length = about.history_length;
  $("history-note").textContent = !history.length
    ? "Empty: the lists are what the models offer to anyone."
    : history.length > length
      ? `${history.length} items; the models read the latest ${length}.`
      : `${history.length} ${history.length > 1 ? "items" : "item"}, the latest last.`;
  $("clear").hidden = !history.length && !user && !excluded.length;
  $("popular").hidden = history.length > 0;
  $("some-users").hidden = Boolean(user);
  chips("targets", targets.filter((id) => !history.includes(id)), "Add", add);
  chips("excluded", excluded, "Allow again", (id) => {
    question.excluded = question.excluded.filter((other) => other !== id);
    update(`${titleOfItem(id)} may be recommended again`);
  });
  const { value } = $("diversity");
  $("diversity-value").textContent = Number(value) ? value : "off";
}

function drawMoved(what, added, before, places, isFresh) {
  if (isFresh || !before) {
    const line = question.history.length
      ? `${what}: ${question.history.length} items in the history.`
      : "Add an item to the history: what moves is told here.";
    $("moved").replaceChildren(element("li", "", line));
    announce(`${what}. ${first(places)}`);
    return;
  }
  const given = { before, places, why: answer.why, titleOfItem, added };
  const { counts, risen } = summary(given);
  const head = element("li", "", element("b", "", `${what}. `));
  const news = counts.filter(({ name }) => lists.isShown(name)).map(countText);
  head.append(
    news.length
      ? `New among the first ten: ${news.join(", ")}.`
      : "No list has a new item among its first ten.",
  );
  const lines = risen.map(({ id, text }) =>
    element("li", "", element("b", "", titleOfItem(id)), ` ${text}.`),
  );
  $("moved").replaceChildren(head, ...lines);
  const main = counts.find(({ name }) => name === "two_stage");
  announce(
    `${what}. ${main ? `${main.fresh} of the first ten are new after ranking.` : ""} ` +
      first(places),
  );
}

// The head of the main list, for who does not see it.
function first(places) {
  const main = places.get("diverse") ?? places.get("two_stage") ?? new Map();
  const titles = [...main.keys()].slice(0, 3).map(titleOfItem);
  return titles.length ? `First: ${titles.join("; ")}.` : "";
}

async function update(what, added, isFresh = false) {
  turn += 1;
  const ticket = turn;
  drawQuestion();
  $("lists").setAttribute("aria-busy", "true");
  let found;
  try {
    found = await ask.lists({
      user_id: question.user,
      history: question.history,
      excluded_ids: question.excluded,
      diversity: Number($("diversity").value),
    });
  } catch (error) {
    if (ticket === turn) fail(error);
    return;
  }
  if (ticket !== turn) return;
  learn(Object.values(found.items));
  const before = isFresh ? undefined : answer?.places;
  const columns = inOrder(found.columns);
  answer = {
    ...found,
    columns,
    before,
    places: placesOf(columns),
    scores: new Map(columns.map(({ name, scores }) => [name, scores])),
    titleOfItem,
    items: about.items,
  };
  lists.draw({ columns, before, targets: new Set(question.targets) });
  drawMoved(what, added, before, answer.places, isFresh);
  drawTargets();
  drawStages(about, columns);
  request.draw(found.commands);
  mark();
  const broken = columns.find(({ name, error }) => name === "retrieval" && error);
  if (broken) problem("The model server does not answer.", broken.error);
  else problem();
  $("lists").removeAttribute("aria-busy");
}

// How near the lists come to what the user did.
function drawTargets() {
  const { targets, history } = question;
  $("targets-note").textContent = targets
    .filter((id) => !history.includes(id))
    .slice(0, TOLD)
    .map((id) => `${titleOfItem(id)} stands ${standing(id, answer.places)}.`)
    .join(" ");
}

function mark() {
  const main = answer.places.get("diverse") ?? answer.places.get("two_stage");
  map?.mark(question.history, [...(main?.keys() ?? [])].slice(0, 10));
}

function problem(title = "", detail = "") {
  $("problem-title").textContent = title;
  $("problem-detail").textContent = detail;
  $("problem").hidden = !title;
  document.body.dataset.state = title ? "failed" : "ready";
}

function fail(error) {
  if (!(error instanceof ask.AskError)) {
    problem("Something went wrong in this page.", `${error}. Reload it.`);
    throw error;
  }
  const title = error.isGone
    ? "The explorer does not answer."
    : "The question could not be answered.";
  problem(title, error.message);
}

// Sees a release, a server that is gone, and one that is back.
async function look() {
  let found;
  try {
    found = await ask.state();
  } catch (error) {
    fail(error);
    return;
  }
  const live = found.versions.filter(({ state }) => state === "AVAILABLE");
  const now = found.error || live.map((v) => `${v.model} ${v.version}`).join();
  const versions = [...new Set(live.map(({ version }) => version))];
  $("server").textContent = found.error
    ? `${about.target} does not answer`
    : `${about.is_own ? "Started for this page" : "Running server"}, ` +
      `${about.target}, version ${versions.join(" and ")}`;
  const isBack = document.body.dataset.state === "failed" && !found.error;
  if (now === served && !isBack) return;
  const isFirst = !served;
  served = now;
  if (found.error) problem("The model server does not answer.", found.error);
  else if (!isFirst) update(`Now served: version ${versions.join(" and ")}`);
}

function connect() {
  new Picker({
    noun: "user",
    input: $("user"),
    list: $("users"),
    search: async (text) => (await tried(ask.users(text)))?.users ?? [],
    describe: (id) => [cover(id), element("span", "name", id)],
    pick: choose,
    undo: () => {},
    announce,
  });
  new Picker({
    input: $("search"),
    list: $("options"),
    search: async (text) => {
      const found = (await tried(ask.search(text)))?.items ?? [];
      learn(found);
      return found.map(({ id }) => id).filter((id) => !taken(id));
    },
    describe: (id) => [cover(titleOfItem(id)), named(known(id))],
    pick: add,
    undo: () => {
      if (question.history.length) drop(question.history.length - 1);
    },
    announce,
  });
  $("clear").addEventListener("click", clear);
  $("diversity").addEventListener("input", () => {
    const { value } = $("diversity");
    update(Number(value) ? `Diversity ${value}` : "Diversity is off");
  });
  why = new Why({ add, exclude });
  request = new Request(announce);
  lists = new Lists({
    root: $("lists"),
    chooser: $("shown"),
    add,
    explain: (id) => why.open(known(id), answer, taken(id)),
    describe: known,
  });
}

async function tried(asked) {
  try {
    return await asked;
  } catch (error) {
    fail(error);
    return undefined;
  }
}

function introduce() {
  learn(about.popular);
  chips("popular", about.popular.map(({ id }) => id), "Add", add);
  $("some-users").append(
    ...about.some_users
      .slice(0, 4)
      .map((id) => button("chip", `User ${id}`, id, () => choose(id))),
  );
  $("user").placeholder = `Such as ${about.some_users[0] ?? "none"}`;
  const baselines = Object.keys(about.settings).map(titleOf).join(", ");
  const said = [
    `run ${about.run}`,
    `bundle ${about.bundle_id}`,
    `${about.items.toLocaleString("en")} items`,
    `${about.users.toLocaleString("en")} users`,
    `histories end before the ${about.part} part`,
    `baselines as evaluated: ${baselines}`,
  ];
  $("facts").replaceChildren(...said.map((text) => element("span", "", text)));
  for (const id of ["user", "search", "diversity"]) $(id).disabled = false;
}

async function start() {
  about = await ask.facts();
  connect();
  introduce();
  $("main").removeAttribute("aria-busy");
  await update("Ready", undefined, true);
  await look();
  setInterval(() => document.hidden || look(), LOOK_MS);
  map = new Map2d(await ask.points(), {
    open: async (id) => {
      if (!items.has(id)) learn((await tried(ask.search(id)))?.items ?? []);
      why.open(known(id), answer, taken(id));
    },
  });
  mark();
  document.body.dataset.map = "drawn";
}

start().catch(fail);
