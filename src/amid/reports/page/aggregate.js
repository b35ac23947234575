// From the embedded scores to the numbers of the table, as amid.reports.aggregate and significance make them.
// view: metric (null: the sweep's own), seeds (null: all; else a Set), correction.

const FINISHED = ["done", "absent"];
const bytesOf = new Map();

// Values per prompt of one score, unpacked once.
function unpacked(packed, metric) {
  const key = `${metric} ${packed}`;
  if (!bytesOf.has(key)) {
    const { width, values } = data.packed[metric];
    const text = atob(packed);
    const found = new Float64Array(text.length / width);
    for (let i = 0; i < found.length; i++) {
      let place = 0;
      for (let k = width - 1; k >= 0; k--) place = place * 256 + text.charCodeAt(i * width + k);
      found[i] = values[place];
    }
    bytesOf.set(key, found);
  }
  return bytesOf.get(key);
}

function metricOf(set, view) {
  return view.metric ?? data.asked ?? data.own[set];
}

// Every column with the metric of its numbers, null where its sets have several, and which direction is good.
function columnsOf(view) {
  return data.columns.map((column) => {
    const metrics = new Set(column.sets.map((set) => metricOf(set, view)));
    const metric = metrics.size === 1 ? [...metrics][0] : null;
    const hasOne = column.kind === "set" || metric !== null;
    const isMean = column.kind === "set" || column.kind === "average";
    const sets = hasOne ? column.sets : [];
    return { ...column, sets, metric, higher: isMean && metric !== null ? (data.metrics[metric] ?? null) : null };
  });
}

const single = (mean, more = {}) => ({
  mean, std: null, seeds: 1, expectedSeeds: 1, trainings: 1, expectedTrainings: 1, trainStd: null, digits: 2,
  temperatures: [], best: false, second: false, differs: false, toBest: null, toNone: null, ...more,
});

// The places of the chosen decode seeds among those of a set.
function placesOf(entry, set, view) {
  const seeds = entry.seeds[set] ?? [];
  return seeds.map((seed, i) => [seed, i]).filter(([seed]) => !view.seeds || view.seeds.has(seed)).map(([, i]) => i);
}

function ofSet(entry, set, view) {
  const places = placesOf(entry, set, view);
  const scores = entry.scores[set]?.[metricOf(set, view)] ?? [];
  const found = places.map((i) => scores[i] ?? null).filter((value) => value !== null);
  if (!found.length) return null;
  const std = found.length > 1 ? deviation(found, 0) : null;
  return single(fmean(found), { std, seeds: found.length, expectedSeeds: places.length });
}

function ofEntry(entry, columns, view) {
  return columns.map((column) => {
    if (column.kind === "validation") {
      const value = entry.validated ? entry.validation[view.metric ?? data.asked ?? data.rule] : undefined;
      return value === undefined ? null : single(value);
    }
    if (column.kind === "temperature")
      return entry.temperature === undefined ? null : single(entry.temperature, { temperatures: [entry.temperature] });
    if (column.kind === "diversity") // of all seeds' texts together: of some of them it is not known
      return entry.diversity === undefined || view.seeds ? null : single(entry.diversity, { digits: 3 });
    const found = column.sets.map((set) => ofSet(entry, set, view));
    if (column.kind === "set") return found[0];
    const complete = found.length && found.every((value) => value !== null);
    return complete ? single(fmean(found.map((value) => value.mean))) : null;
  });
}

function overTrainings(values, expected) {
  const found = values.filter((value) => value !== null);
  if (!found.length || expected === 1) return found[0] ?? null;
  const means = found.map((value) => value.mean);
  const stds = found.map((value) => value.std).filter((std) => std !== null);
  const missing = (expected - found.length) * Math.max(...found.map((value) => value.expectedSeeds));
  const sum = (key) => found.reduce((total, value) => total + value[key], 0);
  return single(fmean(means), {
    std: stds.length === found.length ? Math.sqrt(fmean(stds.map((std) => std ** 2))) : null,
    seeds: sum("seeds"),
    expectedSeeds: sum("expectedSeeds") + missing,
    trainings: found.length,
    expectedTrainings: expected,
    trainStd: means.length > 1 ? deviation(means, 1) : null,
    digits: found[0].digits,
    temperatures: [...new Set(found.flatMap((value) => value.temperatures))].sort((a, b) => a - b),
  });
}

// The values per prompt of a row on a set, the mean over decode and training seeds, with what they are values of.
function examplesOf(row, set, view) {
  const metric = metricOf(set, view);
  const texts = new Set();
  const means = [];
  for (const id of row.members) {
    const entry = data.entries[id];
    const scores = entry.scores[set]?.[metric] ?? [];
    const places = placesOf(entry, set, view).filter((i) => (scores[i] ?? null) !== null);
    const found = places.map((i) => entry.examples[set]?.[metric]?.[i] ?? null);
    if (found.includes(null)) return null;
    for (const [digest] of found) texts.add(digest);
    if (texts.size > 1) return null;
    if (found.length) means.push(meanOf(found.map(([, packed]) => unpacked(packed, metric))));
  }
  return means.length ? { texts: [...texts][0], values: meanOf(means) } : null;
}

// Row -> set -> values per prompt, of the rows that were asked the texts of the first one.
function comparable(rows, view) {
  const found = new Map(rows.map((row) => [row, {}]));
  for (const set of Object.keys(data.own)) {
    let first = null;
    for (const row of rows) {
      const each = examplesOf(data.rows[row], set, view);
      if (each === null || each.values.length < 2) continue;
      first ??= each.texts;
      if (each.texts === first) found.get(row)[set] = each.values;
    }
  }
  return found;
}

const valuesOn = (examples, row, sets) => sets.map((set) => examples.get(row)?.[set]);
const hasAll = (values) => values.length > 0 && values.every((each) => each !== undefined);

function mark(rows, column, sets, higher, tested, examples, correction) {
  const mean = (i) => rows[i].values[column].mean;
  const ranked = [...tested].sort((a, b) => (higher ? mean(b) - mean(a) : mean(a) - mean(b)));
  const best = ranked[0];
  const next = ranked.find((i) => mean(i) !== mean(best));
  const pairs = [];
  for (const [at, i] of tested.entries()) for (const j of tested.slice(at + 1)) pairs.push([i, j]);
  const found = pairs.map(([i, j]) => paired(valuesOn(examples, i, sets), valuesOn(examples, j, sets)));
  const placeOf = new Map(pairs.map(([i, j], at) => [`${i} ${j}`, at]));
  const place = (i, j) => placeOf.get(`${Math.min(i, j)} ${Math.max(i, j)}`);
  const difference = (i, j) => {
    const each = found[place(i, j)];
    const turned = i < j ? each.difference : -each.difference;
    const margin = each.margin;
    return { difference: turned, low: turned - margin, high: turned + margin };
  };
  const apart = rejected(found.map((each) => each.p), correction);
  for (const i of tested) {
    const value = rows[i].values[column];
    value.best = i === best || !apart[place(i, best)];
    value.second = next !== undefined && mean(i) === mean(next);
    if (i !== best) value.toBest = () => difference(i, best); // for the few that are shown
  }
  const own = tested.filter((i) => data.rows[i].baseline !== null && tested.includes(data.rows[i].baseline));
  const differing = rejected(own.map((i) => found[place(i, data.rows[i].baseline)].p), correction);
  for (const [at, i] of own.entries()) rows[i].values[column].differs = differing[at];
}

// The table: its columns, and of every row its values with their marks. examples: of all rows that can be compared.
function computed(view) {
  const columns = columnsOf(view);
  const rows = data.rows.map((row) => {
    const singles = row.members.map((id) => ofEntry(data.entries[id], columns, view));
    return { values: columns.map((_, c) => overTrainings(singles.map((each) => each[c]), row.members.length)) };
  });
  const numbers = data.rows.map((_, i) => i).filter((i) => !data.rows[i].reference);
  const examples = comparable(numbers, view);
  const blocks = new Map();
  for (const i of numbers) {
    const key = JSON.stringify(data.rows[i].block);
    blocks.set(key, [...(blocks.get(key) ?? []), i]);
  }
  if (numbers.length > 1)
    for (const block of blocks.values())
      for (const [c, { sets, higher }] of columns.entries()) {
        const tested = block.filter((i) => rows[i].values[c] !== null && hasAll(valuesOn(examples, i, sets)));
        if (higher !== null && tested.length > 1) mark(rows, c, sets, higher, tested, examples, view.correction);
      }
  return { columns, rows, examples };
}

// The mean of a row over the sets of a column, with its interval; null where it has no values per prompt.
function intervalOfMean(table, row, column) {
  const values = valuesOn(table.examples, row, table.columns[column].sets);
  if (!hasAll(values)) return null;
  const { difference, margin } = paired(values, null);
  return [difference - margin, difference + margin];
}
