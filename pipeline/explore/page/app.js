// The page: a question, the answers to it, and what went wrong.

import * as ask from "./ask.js";
import { isKnown, known, learn, titleOfItem } from "./items.js";
import { Lists, placesOf } from "./lists.js";
import { Map2d } from "./map.js";
import { inOrder, titleOf } from "./names.js";
import { Question } from "./question.js";
import { countText, summary } from "./reasons.js";
import { Request } from "./request.js";
import { element } from "./shared/parts.js";
import { drawStages, drawVersions } from "./stages.js";
import { Why } from "./why.js";

const LOOK_MS = 4000;
const $ = (id) => document.getElementById(id);

let about;
let question;
let answer;
let turn = 0;
let served = "";
let lists;
let request;
let why;
let map;

function announce(text) {
  $("live").textContent = text;
}

const explain = (id) => why.open(known(id), answer, question.isTaken(id));

// The list that matters most, as places by item.
const main = ({ places }) =>
  places.get("diverse") ?? places.get("two_stage") ?? new Map();

// The head of that list, for who does not see it.
function first() {
  const titles = [...main(answer).keys()].slice(0, 3).map(titleOfItem);
  return titles.length ? `First: ${titles.join("; ")}.` : "";
}

function drawMoved(what, added) {
  if (!answer.before) {
    const { length } = question.history;
    const lines = length
      ? [
          `${what}: ${length} items in the history, which end before the ` +
            `${about.part} part. ✓ marks what the user really took next.`,
        ]
      : [
          "Add an item: what moves, and why, is told here.",
          "Or take a user of the run, and see what was measured.",
        ];
    $("moved").replaceChildren(...lines.map((text) => element("li", "", text)));
    announce(`${what}. ${first()}`);
    return;
  }
  const { counts, risen } = summary({ ...answer, added });
  const news = counts.filter(({ name }) => lists.isShown(name)).map(countText);
  const head = element("li", "", element("b", "", `${what}. `));
  head.append(
    news.length
      ? `New among the first ten: ${news.join(", ")}.`
      : "No list has a new item among its first ten.",
  );
  const lines = risen.map(({ id, text }) =>
    element("li", "", element("b", "", titleOfItem(id)), ` ${text}.`),
  );
  $("moved").replaceChildren(head, ...lines);
  const ranked = counts.find(({ name }) => name === "two_stage")?.fresh ?? 0;
  announce(
    `${what}. ${ranked} of the first ten are new after ranking. ${first()}`,
  );
}

async function update(what, added, isFresh = false) {
  turn += 1;
  const ticket = turn;
  question.draw();
  question.keep();
  $("lists").setAttribute("aria-busy", "true");
  let found;
  try {
    found = await ask.lists(question.asked);
  } catch (error) {
    if (ticket === turn) fail(error);
    return;
  }
  if (ticket !== turn) return;
  learn(Object.values(found.items));
  // What the address named has titles only now.
  if (isFresh) question.draw();
  const columns = inOrder(found.columns);
  answer = {
    columns,
    before: isFresh ? undefined : answer?.places,
    places: placesOf(columns),
    scores: new Map(columns.map(({ name, scores }) => [name, scores])),
    why: found.why,
    titleOfItem,
    items: about.items,
  };
  const broken = columns.find(({ name, error }) => name === "retrieval" && error);
  // What the head of the page says need not be said in every list.
  const told = columns.map((one) =>
    one.error && one.error === broken?.error
      ? { ...one, error: "No answer." }
      : one,
  );
  const targets = new Set(question.targets);
  lists.draw({ ...answer, columns: told, targets });
  drawMoved(what, added);
  question.drawTargets(answer.places);
  drawStages(about, columns);
  request.draw(found.commands);
  mark();
  if (broken) lost(broken.error);
  else problem();
  $("lists").removeAttribute("aria-busy");
}

function mark() {
  map?.mark(question.history, [...main(answer).keys()].slice(0, 10));
}

function problem(title = "", detail = "") {
  $("problem-title").textContent = title;
  $("problem-detail").textContent = detail;
  $("problem").hidden = !title;
  document.body.dataset.state = title ? "failed" : "ready";
}

function lost(error) {
  const advice = about.is_own
    ? " It was started for this page: start make explore again."
    : "";
  problem("The model server does not answer.", error + advice);
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

async function tried(asked) {
  try {
    return await asked;
  } catch (error) {
    fail(error);
    return undefined;
  }
}

// Sees a release, a server that is gone, and one that is back.
async function look() {
  const found = await tried(ask.state());
  if (!found) return;
  const live = found.versions.filter(({ state }) => state === "AVAILABLE");
  const now = found.error || live.map((v) => `${v.model} ${v.version}`).join();
  const numbers = new Set(live.map(({ version }) => version));
  const versions = [...numbers].sort((a, b) => a - b);
  const whose = about.is_own ? "Started for this page" : "Running server";
  $("server").textContent = found.error
    ? `${about.target} does not answer`
    : `${whose}, ${about.target}, version ${versions.join(" and ")}`;
  drawVersions(found.versions);
  const isBack = document.body.dataset.state === "failed" && !found.error;
  if (now === served && !isBack) return;
  const isFirst = !served;
  served = now;
  if (found.error) lost(found.error);
  else if (isBack) update("There is an answer again");
  else if (!isFirst) update(`Now served: version ${versions.join(" and ")}`);
}

async function watch() {
  if (!document.hidden) await look();
  setTimeout(watch, LOOK_MS);
}

function facts() {
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
}

async function start() {
  about = await ask.facts();
  question = new Question({ about, changed: update, tried, announce });
  request = new Request(announce);
  const add = (id) => question.add(id);
  why = new Why({ add, exclude: (id) => question.exclude(id) });
  lists = new Lists({
    root: $("lists"),
    chooser: $("shown"),
    add,
    explain,
    describe: known,
  });
  facts();
  $("main").removeAttribute("aria-busy");
  await question.restore();
  await update("Ready", undefined, true);
  await watch();
  map = new Map2d(await ask.points(), {
    open: async (id) => {
      if (!isKnown(id)) learn((await tried(ask.search(id)))?.items ?? []);
      explain(id);
    },
  });
  mark();
  document.body.dataset.map = "drawn";
}

start().catch(fail);
