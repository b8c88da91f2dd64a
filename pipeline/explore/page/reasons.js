// Why an item stands where it does, and what moved most since the last answer.

import { moved, SHOWN } from "./lists.js";
import { ordinal, placeIn } from "./names.js";

const number = (value) => value.toLocaleString("en");

// What of the history speaks for an item.
function near(why, titleOfItem) {
  const found = [];
  if (why?.nearest) {
    found.push({
      item: why.nearest,
      text:
        `its vector is closest to ${titleOfItem(why.nearest)} ` +
        `(cosine ${why.cosine.toFixed(2)})`,
    });
  }
  if (why?.with_item) {
    found.push({
      item: why.with_item,
      text:
        `${number(why.both)} of the ${number(why.users)} users who took it ` +
        `took ${titleOfItem(why.with_item)} as well`,
    });
  }
  return found;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

// Sentences for one item.
export function reasonsFor(item, { why, places, scores, titleOfItem, items }) {
  const found = near(why[item.id], titleOfItem).map(({ text }) =>
    capital(text),
  );
  if (!found.length)
    found.push(
      why[item.id]
        ? "Nothing in the history: it is empty."
        : "What in the history speaks for it is known of the first ten alone",
    );
  found.push(
    `${capital(ordinal(item.place))} of ${number(items)} by popularity: ` +
      `${number(item.interactions)} interactions`,
  );
  const from = places.get("retrieval")?.get(item.id);
  const to = places.get("two_stage")?.get(item.id);
  if (!from) {
    found.push("Not among the first items that retrieval returns");
    return found;
  }
  const score = (name, place) =>
    `score ${scores.get(name)?.[place - 1]?.toPrecision(3) ?? "unknown"}`;
  found.push(`${ordinal(from)} of retrieval, ${score("retrieval", from)}`);
  if (to) {
    const by = from - to;
    const how = !by
      ? "leaves it there"
      : `moves it ${by > 0 ? "up" : "down"} ${number(Math.abs(by))} to ${ordinal(to)}`;
    found.push(`Ranking ${how}, ${score("two_stage", to)}`);
  }
  const diverse = places.get("diverse")?.get(item.id);
  if (diverse) found.push(`${ordinal(diverse)} with diversity`);
  return found;
}

// Sentences for what an action did: how much of each list changed, and the
// items of the main list that moved most.
export function summary({ before, places, why, titleOfItem, added }) {
  const counts = [];
  for (const [name, now] of places) {
    const was = before.get(name);
    if (!was || !now.size) continue;
    const fresh = [...now.keys()]
      .slice(0, SHOWN)
      .filter((id) => !(was.get(id) <= SHOWN)).length;
    if (fresh) counts.push({ name, fresh });
  }
  const main = places.has("diverse") ? "diverse" : "two_stage";
  const now = places.get(main) ?? new Map();
  const was = before.get(main) ?? before.get("two_stage") ?? new Map();
  const by = (id) => (was.get(id) ?? 2 * was.size + SHOWN) - now.get(id);
  const risen = [...now.keys()]
    .slice(0, SHOWN)
    .filter((id) => by(id) > 0)
    .sort((a, b) => by(b) - by(a))
    .slice(0, 3)
    .map((id) => {
      const place = now.get(id);
      const change = moved(was, id, place);
      const speaking = near(why[id], titleOfItem);
      // What was just added explains more than what stood there before.
      const reason = speaking.find(({ item }) => item === added) ?? speaking[0];
      const head =
        change.kind === "new"
          ? `is new, ${ordinal(place)}`
          : `rose from ${ordinal(was.get(id))} to ${ordinal(place)}`;
      return {
        id,
        text: `${head} ${placeIn(main)}${reason ? `: ${reason.text}` : ""}`,
      };
    });
  return { counts, risen };
}

// Where an item stands, in words.
export function standing(id, places) {
  const found = [...places]
    .filter(([, places]) => places.has(id))
    .map(([name, places]) => `${ordinal(places.get(id))} ${placeIn(name)}`);
  return found.length ? found.join(", ") : "in no list";
}

export const countText = ({ name, fresh }) => `${fresh} ${placeIn(name)}`;
