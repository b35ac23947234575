// What a reader chooses: the metric, decode seeds, the correction, an order, and two rows to compare. All of it is in
// the part of the address behind #, so that a link shows what its sender saw.

const isDeclared = () => state.metric === null && state.seeds === null && state.correction === "holm";

function drawState(announced) {
  const parts = [];
  if (state.metric !== null) parts.push(`metric ${state.metric}`);
  if (state.seeds !== null) parts.push(`decode seeds ${[...state.seeds].join(", ")}`);
  if (state.correction !== "holm") parts.push(`correction ${state.correction}`);
  const said = parts.length ? `Computed in this page: ${parts.join("; ")}.` : "As amid table prints it.";
  at("state").textContent = announced ? `${said} ${announced}` : said;
  for (const note of document.querySelectorAll(".own")) note.hidden = isDeclared();
}

function drawChoices() {
  const metric = element("select", { id: "metric" }, element("option", { value: "" }, "the sweep's own"),
    ...Object.keys(data.metrics).map((name) => element("option", { value: name }, name)));
  const correction = element("select", { id: "correction" },
    ...Object.entries(CORRECTIONS).map(([name, said]) => element("option", { value: name }, said)));
  metric.addEventListener("change", () => change({ metric: metric.value || null }));
  correction.addEventListener("change", () => change({ correction: correction.value }));
  const reset = element("button", { type: "button", id: "reset" }, "As it was declared");
  reset.addEventListener("click", () => change({ metric: null, seeds: null, correction: "holm", sort: null }));
  const parts = [element("label", {}, "Metric", metric), element("label", {}, "Correction", correction)];
  if (seedsThere.length > 1)
    parts.push(element("fieldset", { id: "seeds" }, element("legend", {}, "Decode seeds"),
      ...seedsThere.map((seed) => element("label", {}, element("input", { type: "checkbox", value: seed }), ` ${seed} `))));
  at("choices").replaceChildren(...parts, reset);
  at("seeds")?.addEventListener("change", () => {
    const chosen = [...at("seeds").querySelectorAll("input:checked")].map((box) => Number(box.value));
    change({ seeds: chosen.length === seedsThere.length || !chosen.length ? null : new Set(chosen) });
  });
}

function showChoices() {
  at("metric").value = state.metric ?? "";
  at("correction").value = state.correction;
  for (const box of at("choices").querySelectorAll("input")) box.checked = !state.seeds || state.seeds.has(Number(box.value));
}

function toHash() {
  const parts = new URLSearchParams();
  if (state.metric !== null) parts.set("metric", state.metric);
  if (state.seeds !== null) parts.set("seeds", [...state.seeds].join(","));
  if (state.correction !== "holm") parts.set("correction", state.correction);
  if (state.sort !== null) parts.set("sort", `${state.sort[0]}${state.sort[1] ? "-" : "+"}`);
  if (state.pair.length) parts.set("pair", state.pair.map((row) => data.rows[row].members[0]).join(","));
  if (state.set !== null) parts.set("set", state.set);
  return `#${parts}`;
}

// What an address says; what it says that is not here is as if it said nothing.
function fromHash(hash) {
  const parts = new URLSearchParams(hash.slice(1));
  const seeds = (parts.get("seeds") ?? "").split(",").map(Number).filter((seed) => seedsThere.includes(seed));
  const sort = /^(\d+)([+ -])$/.exec(parts.get("sort") ?? ""); // a + in an address is a space
  const rows = (parts.get("pair") ?? "").split(",").map((id) => data.rows.findIndex((row) => id && row.members[0] === id));
  return {
    metric: Object.hasOwn(data.metrics, parts.get("metric")) ? parts.get("metric") : null,
    seeds: seeds.length && seeds.length < seedsThere.length ? new Set(seeds) : null,
    correction: Object.hasOwn(CORRECTIONS, parts.get("correction")) ? parts.get("correction") : "holm",
    sort: sort ? [Number(sort[1]), sort[2] === "-"] : null,
    pair: rows.filter((row) => row >= 0).slice(0, 2),
    set: parts.get("set"),
  };
}

const madeOf = (view) => JSON.stringify([view.metric, view.seeds && [...view.seeds], view.correction]);

function change(news, { announced = "", keep = true } = {}) {
  const before = madeOf(state);
  const sorted = state.sort;
  Object.assign(state, news);
  const focused = document.activeElement?.closest("#scores")
    ? [...document.querySelectorAll("#scores button")].indexOf(document.activeElement) : -1;
  if (before !== madeOf(state)) {
    table = null;
    drawTable();
    drawMap();
  } else if (sorted !== null && state.sort === null) drawTable();
  drawOrder();
  if (focused >= 0 && !document.activeElement?.closest("#scores")) document.querySelectorAll("#scores button")[focused]?.focus();
  drawComparison();
  drawState(announced);
  showChoices();
  if (keep) history.replaceState(null, "", toHash());
}

function pick(row) {
  const rest = state.pair.filter((each) => each !== row);
  const pair = rest.length < state.pair.length ? rest : [...state.pair, row].slice(-2);
  const announced = pair.length === 2 ? `${pair.map(calledOf).join(" and ")} are compared below.`
    : pair.length ? `${calledOf(pair[0])} is chosen; choose another one.` : "";
  change({ pair }, { announced });
}

function begin() {
  drawChoices();
  at("controls").hidden = false;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button?.classList.contains("pick")) pick(Number(button.dataset.row));
    if (button?.classList.contains("sort")) {
      const head = button.parentElement.cellIndex;
      const again = state.sort?.[0] === head;
      change({ sort: again ? (state.sort[1] ? [head, false] : null) : [head, true] });
    }
    if (event.target.closest("a.skip")) {
      event.preventDefault(); // the address is kept for what is chosen
      at("table-title").scrollIntoView();
      at("scores").querySelector("button").focus();
    }
  });
  at("controls").addEventListener("submit", (event) => event.preventDefault());
  addEventListener("hashchange", () => change(fromHash(location.hash), { keep: false }));
  change(fromHash(location.hash), { keep: false });
}

begin();
