// The table, the heat map and their order, made anew when something is chosen: the same elements that Python made.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const data = read("data");
const texts = read("texts");
const configurations = read("configurations");
const at = (id) => document.getElementById(id);

const TO_BEST = "Avg. - best";
const TRAINING_SEEDS = "seeds ±";
const CORRECTIONS = {
  holm: "Holm, over all pairs of a column of a block",
  bonferroni: "Bonferroni, over the same pairs",
  none: "none: every pair by itself",
};
const seedsThere = [
  ...new Set(Object.values(data.entries).flatMap((entry) => Object.values(entry.seeds).flat())),
].sort((a, b) => a - b);
const state = { metric: null, seeds: null, correction: "holm", sort: null, pair: [], set: null };
let table = null; // what is shown, computed when it is first asked for: what Python wrote needs no computing

function current() {
  table ??= computed(state);
  return table;
}

function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(key, value);
  made.append(...content.filter((each) => each !== null));
  return made;
}

// ---- the lines of the table, as amid.reports.cells and page/scores.py make them

const averageOf = (columns) => {
  const found = columns.findIndex(({ name }) => name === "Avg." || name.startsWith("Avg. "));
  return found < 0 ? null : found;
};

function shown(value) {
  if (value === null) return { text: "-" };
  let rest = value.seeds < value.expectedSeeds ? ` (${value.seeds}/${value.expectedSeeds})` : "";
  if (value.temperatures.length) return { text: value.temperatures.map((t) => String(t)).join(", ") + rest };
  const mean = fixed(value.mean, value.digits);
  const text = value.std === null ? mean + rest : `${mean} ± ${fixed(value.std, 2)}${rest}`;
  return { text, best: value.best, second: value.second, differs: value.differs };
}

function intervalText({ difference, low, high }) {
  return `${signed(difference)} [${signed(low)}, ${signed(high)}]`;
}

function trainingText(values, average) {
  const there = values.filter((value) => value !== null);
  const most = Math.max(1, ...there.map((value) => value.expectedTrainings));
  if (most < 2) return "";
  const value = average === null ? null : values[average];
  const count = value === null ? Math.max(...there.map((each) => each.trainings)) : value.trainings;
  const spread = value === null || value.trainStd === null ? "?" : fixed(value.trainStd, 2);
  return `${spread} ${count === most ? `(${count})` : `(${count}/${most})`}`;
}

function extraOf({ columns, rows }) {
  const average = averageOf(columns);
  const values = rows.flatMap((row) => row.values).filter((value) => value !== null);
  const several = values.some((value) => value.expectedTrainings > 1);
  const known = average !== null && rows.some((row) => row.values[average]?.toBest);
  return [...(several ? [TRAINING_SEEDS] : []), ...(known ? [TO_BEST] : [])];
}

function extraText(head, values, average) {
  if (head === TRAINING_SEEDS) return trainingText(values, average);
  const value = values[average];
  if (!value) return "";
  if (value.toBest) return intervalText(value.toBest());
  return value.best ? "best" : "";
}

function cellsOf(row, values) {
  if (FINISHED.includes(row.state) || values.some((value) => value !== null)) return values.map(shown);
  return values.map((_, i) => ({ text: i ? "-" : row.state }));
}

function nameOf(row, values) {
  const name = row.warned ? `${row.labels[0]} !` : row.labels[0];
  const finished = FINISHED.includes(row.state) || values.every((value) => value === null);
  return finished ? name : `${name} [${row.state}]`;
}

// The paper's numbers of a row, where they are of what is shown.
function paperOf(row, values, columns) {
  if (!row.paper) return null;
  const found = values.map((value, c) => {
    const column = columns[c];
    const own = { ...state, metric: null };
    const same = column.kind === "validation" ? [null, "rouge_l"].includes(state.metric)
      : column.sets.every((set) => metricOf(set, state) === metricOf(set, own));
    if (value === null || !row.paper[c] || !same) return "";
    const [mean, doubtful] = row.paper[c];
    return `${fixed(mean, 2)}${doubtful ? "?" : ""} (${signed(value.mean - mean)})`;
  });
  return found.some((text) => text) ? found : null;
}

function scoreCell({ text, best, second, differs }) {
  let inside = document.createTextNode(text);
  if (second) inside = element("u", {}, inside);
  if (best) inside = element("b", {}, inside);
  const said = [
    ...(best ? [" best"] : []), ...(second ? [" second"] : []),
    ...(differs ? [" differs from the row without an assistant"] : []),
  ];
  const mark = differs ? element("sup", { "aria-hidden": "true" }, "†") : null;
  return element("td", { class: "num" }, inside, mark, said.length ? element("span", { class: "sr" }, said.join(",")) : null);
}

function tableParts() {
  const { columns, rows } = current();
  const average = averageOf(columns);
  const extra = extraOf(current());
  const place = average === null ? columns.length : average + 1;
  const insert = (list, items) => [...list.slice(0, place), ...items, ...list.slice(place)];
  const heads = [...data.labels, ...insert(columns.map(({ name }) => name), extra)];
  const head = heads.map((name, i) =>
    element("th", { scope: "col", class: i < data.labels.length ? null : "num" },
      element("button", { type: "button", class: "sort" }, name)));
  const parts = [element("thead", {}, element("tr", {}, ...head))];
  let body = [];
  let before = null;
  for (const [i, row] of data.rows.entries()) {
    const values = rows[i].values;
    if (row.title !== null && JSON.stringify(row.block) !== before) {
      before = JSON.stringify(row.block);
      if (body.length) parts.push(element("tbody", {}, ...body));
      const title = element("th", { scope: "rowgroup", colspan: heads.length }, row.title);
      body = [element("tr", { class: "title" }, title)];
    }
    const name = nameOf(row, values);
    const first = row.members.length
      ? element("button", { type: "button", class: "pick", "data-row": i, "aria-pressed": "false" }, name)
      : name;
    const cells = insert(cellsOf(row, values), extra.map((each) => ({ text: extraText(each, values, average) })));
    body.push(element("tr", { "data-row": i }, element("th", { scope: "row" }, first),
      ...row.labels.slice(1).map((label) => element("td", {}, label)), ...cells.map(scoreCell)));
    const paper = paperOf(row, values, columns);
    if (paper !== null) {
      const labels = row.labels.slice(1).map(() => element("td", {}));
      const printed = insert(paper, extra.map(() => ""));
      body.push(element("tr", { class: "paper" }, element("th", { scope: "row" }, element("i", {}, "paper")),
        ...labels, ...printed.map((text) => scoreCell({ text }))));
    }
  }
  return [...parts, element("tbody", {}, ...body)];
}

function drawTable() {
  const scores = at("scores");
  const caption = scores.caption;
  scores.replaceChildren(caption, ...tableParts());
}

// ---- the heat map, as page/heat_map.py makes it

const LEVELS = 6;

function levelsOf(values, lower) {
  const known = [...values].filter(([, value]) => value !== null);
  const low = Math.min(...known.map(([, value]) => value));
  const high = Math.max(...known.map(([, value]) => value));
  return new Map(known.map(([row, value]) => {
    if (low === high) return [row, LEVELS / 2];
    const level = Math.min(LEVELS - 1, Math.floor(((value - low) / (high - low)) * LEVELS));
    return [row, lower ? LEVELS - 1 - level : level];
  }));
}

function drawMap() {
  if (!at("heat")) return;
  const column = data.lead;
  const values = new Map(data.places.map(([row]) => [row, current().rows[row].values[column]?.mean ?? null]));
  const levels = levelsOf(values, current().columns[column].higher === false);
  for (const button of at("heat").querySelectorAll("button")) {
    const number = Number(button.dataset.row);
    const row = data.rows[number];
    const value = current().rows[number].values[column];
    const parts = [];
    if (value === null) {
      button.className = `pick ${row.gap}`;
      parts.push(element("span", {}, row.state === "absent" ? "missing" : row.state === "done" ? "no score" : row.state));
    } else {
      button.className = `pick h${levels.get(number)}`;
      parts.push(element("span", {}, shown(value).text));
      const interval = intervalOfMean(current(), number, column);
      if (interval) parts.push(element("small", {}, `[${interval.map((x) => fixed(x, 2)).join(", ")}]`));
      const paper = paperOf(row, current().rows[number].values, current().columns);
      if (paper?.[column]) parts.push(element("small", {}, `paper ${fixed(row.paper[column][0], 2)}`));
    }
    button.replaceChildren(...parts);
  }
}

// ---- order

function keyOf(row, head) {
  const { columns, rows } = current();
  if (head < data.labels.length) {
    const label = data.rows[row].labels[head];
    return label === "" || Number.isNaN(Number(label)) ? label : Number(label);
  }
  const extra = extraOf(current());
  const average = averageOf(columns);
  const place = average === null ? columns.length : average + 1;
  let column = head - data.labels.length;
  if (column >= place && column < place + extra.length) {
    if (extra[column - place] === TRAINING_SEEDS) return rows[row].values[average]?.trainStd ?? null;
    column = average; // the difference from the best row orders as the average does
  } else if (column >= place) column -= extra.length;
  return rows[row].values[column]?.mean ?? null;
}

function compareKeys(left, right) {
  if (left === null || right === null) return (left === null) - (right === null); // what is missing comes last
  if (typeof left === typeof right && typeof left === "number") return left - right;
  return String(left).localeCompare(String(right), "en");
}

function drawOrder() {
  const heads = [...at("scores").tHead.rows[0].cells];
  for (const head of heads) head.removeAttribute("aria-sort");
  if (state.sort === null) return;
  const [head, down] = state.sort;
  if (!heads[head]) return;
  heads[head].setAttribute("aria-sort", down ? "descending" : "ascending");
  for (const body of at("scores").tBodies) {
    const groups = [];
    for (const row of [...body.rows]) {
      if (row.dataset.row !== undefined) groups.push([Number(row.dataset.row), [row]]);
      else if (groups.length) groups.at(-1)[1].push(row); // the paper's below ours
    }
    const order = (a, b) => {
      const references = data.rows[b[0]].reference - data.rows[a[0]].reference; // above all others
      const [left, right] = [keyOf(a[0], head), keyOf(b[0], head)];
      const missing = left === null || right === null;
      return references || (down && !missing ? compareKeys(right, left) : compareKeys(left, right)) || a[0] - b[0];
    };
    body.append(...groups.sort(order).flatMap(([, rows]) => rows));
  }
}
