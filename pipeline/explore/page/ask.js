// Questions to the server of this page.

// What the page shows: nobody answered, or the answer says what is wrong.
export class AskError extends Error {
  constructor(message, isGone) {
    super(message);
    this.isGone = isGone;
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new AskError("Start it again with make explore.", true);
  }
  const answer = await response.json();
  if (!response.ok) throw new AskError(answer.error, false);
  return answer;
}

const about = (name, text) =>
  ask(`api/${name}?${new URLSearchParams({ text })}`);

export const facts = () => ask("api/about");
export const state = () => ask("api/state");
export const points = () => ask("api/map");
export const search = (text) => about("search", text);
export const values = (text) => about("values", text);
export const users = (text) => about("users", text);
export const user = (id) => about("user", id);
export const similar = (item) => about("similar", item);
export const lists = (question) =>
  ask("api/lists", { method: "POST", body: JSON.stringify(question) });
