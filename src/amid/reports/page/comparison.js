// Two rows side by side: differences, configurations, responses.

const calledOf = (number) => {
  const row = data.rows[number];
  return [row.title, ...row.labels].filter((label) => label).join(", ");
};

function simpleTable(caption, heads, rows) {
  const made = element("table", {}, element("caption", {}, caption),
    element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
    element("tbody", {}, ...rows.map(([first, ...rest]) =>
      element("tr", {}, element("th", { scope: "row" }, first), ...rest.map((text) => element("td", {}, text))))));
  return element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption }, made);
}

function differences(left, right) {
  const examples = comparable([left, right], state);
  const rows = [];
  for (const [c, { name, kind, sets, metric }] of current().columns.entries()) {
    const values = [left, right].map((row) => current().rows[row].values[c]);
    if (!["set", "average", "diversity", "validation"].includes(kind) || values.includes(null)) continue;
    const digits = values[0].digits;
    const numbers = values.map((value) => fixed(value.mean, digits));
    const own = [left, right].map((row) => valuesOn(examples, row, sets));
    const about = metric ?? (kind === "diversity" ? "self_bleu" : kind === "validation" ? "" : "");
    if (!own.every(hasAll)) {
      rows.push([name, about, ...numbers, signed(values[0].mean - values[1].mean, digits), "(no values per prompt)", ""]);
      continue;
    }
    const found = paired(...own);
    const interval = [found.difference - found.margin, found.difference + found.margin].map((x) => signed(x));
    rows.push([name, about, ...numbers, signed(found.difference), `[${interval.join(", ")}]`, probability(found.p)]);
  }
  return simpleTable("Left minus right, prompt by prompt; intervals and p without correction",
    ["set", "metric", "left", "right", "left - right", "95 % interval", "p"], rows);
}

const probability = (p) => (p < 0.001 ? "< 0.001" : fixed(p, 3));

function configured(ids) {
  const own = ids.map((id) => configurations.own[id]);
  if (own.includes(undefined)) return element("p", {}, "A teacher or initial student is no cell: its configuration is not compared.");
  const keys = [...new Set(own.flatMap(Object.keys))].sort();
  const differing = keys.filter((key) => own[0][key] !== own[1][key]);
  if (!differing.length) return element("p", {}, "Their configurations are the same.");
  return simpleTable("What differs in their configuration", ["key", "left", "right"],
    differing.map((key) => [key, own[0][key] ?? "-", own[1][key] ?? "-"]));
}

function perPrompt(id, set, index) {
  const entry = data.entries[id];
  const metric = metricOf(set, state);
  const first = entry.examples[set]?.[metric]?.[0];
  return first ? `${metric} ${fixed(unpacked(first[1], metric)[index], 1)}` : "";
}

function sideBySide(ids) {
  const both = Object.entries(texts).flatMap(([set, groups]) =>
    groups.filter((group) => ids.every((id) => group.responses[id])).map((group) => [set, group]));
  if (!both.length) return [element("p", {}, "There are no texts of both in this file.")];
  const [set, group] = both.find(([name]) => name === state.set) ?? both[0];
  const select = element("select", { id: "set" }, ...both.map(([name]) => element("option", {}, name)));
  select.value = set;
  select.addEventListener("change", () => change({ set: select.value }));
  const parts = [element("p", {}, element("label", { for: "set" }, "Prompts of "), select,
    ` the first ${group.questions.length} of ${group.of}, decode seed ${data.entries[ids[0]].seeds[set][0]}`)];
  for (const [i, question] of group.questions.entries()) {
    const responses = ids.map((id, side) => element("div", {},
      element("h4", {}, `${side ? "right" : "left"} ${perPrompt(id, set, i)}`),
      element("p", { class: "said" }, group.responses[id][i] ?? "(not kept)")));
    parts.push(element("article", { class: "prompt" }, element("h3", {}, `${set} ${i}`),
      element("p", { class: "said" }, question), element("h4", {}, "reference"),
      element("p", { class: "said" }, group.references[i]), element("div", { class: "sides" }, ...responses)));
  }
  return parts;
}

// Of several trainings the one whose texts are shown: the first that has any.
const shownOf = (members) => members.find((id) => Object.keys(data.entries[id].scores).length) ?? members[0];

function drawComparison() {
  for (const button of document.querySelectorAll("button.pick"))
    button.setAttribute("aria-pressed", String(state.pair.includes(Number(button.dataset.row))));
  const place = at("comparison");
  if (state.pair.length < 2) {
    const said = state.pair.length ? `${calledOf(state.pair[0])} is chosen; choose another one.`
      : "Choose two rows of the table, or two cells of the map.";
    place.replaceChildren(element("p", {}, said));
    return;
  }
  const [left, right] = state.pair;
  const ids = state.pair.map((row) => shownOf(data.rows[row].members));
  const several = state.pair.some((row) => data.rows[row].members.length > 1);
  const stop = element("button", { type: "button" }, "Choose others");
  stop.addEventListener("click", () => change({ pair: [] }));
  place.replaceChildren(
    element("p", {}, element("b", {}, "left"), ` ${calledOf(left)} (${ids[0]})`, element("br"),
      element("b", {}, "right"), ` ${calledOf(right)} (${ids[1]}) `, stop),
    differences(left, right),
    configured(ids),
    element("p", { class: "command" }, "The same two on the command line: ", element("code", {}, `amid compare ${ids.join(" ")}`)),
    several ? element("p", { class: "note" }, "Differences are of all training seeds; configuration and texts of one.") : "",
    ...sideBySide(ids));
}
