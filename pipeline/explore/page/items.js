// Items that were told of so far, in words.

import { element } from "./shared/parts.js";

const items = new Map();

export function learn(found) {
  for (const item of found) items.set(item.id, item);
}

export const isKnown = (id) => items.has(id);

export const known = (id) =>
  items.get(id) ?? { id, title: id, features: {}, interactions: 0, place: 0 };

export const titleOfItem = (id) => known(id).title;

export function named({ title, features }) {
  const text = element("span", "name", element("b", "", title));
  const words = Object.values(features).slice(0, 3).join(" · ");
  if (words) text.append(element("small", "", words));
  return text;
}
