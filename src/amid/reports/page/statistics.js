"use strict";
// Numbers as Python prints them and statistics as amid.metrics.paired computes them, in the same order of additions.

// The exactly rounded sum, as math.fsum (Shewchuk 1997).
function fsum(values) {
  const parts = [];
  for (let x of values) {
    let count = 0;
    for (let y of parts) {
      if (Math.abs(x) < Math.abs(y)) [x, y] = [y, x];
      const high = x + y;
      const low = y - (high - x);
      if (low) parts[count++] = low;
      x = high;
    }
    parts.length = count;
    parts.push(x);
  }
  let n = parts.length;
  if (!n) return 0;
  let high = parts[--n];
  let low = 0;
  while (n > 0) {
    const x = high;
    const y = parts[--n];
    high = x + y;
    low = y - (high - x);
    if (low) break;
  }
  if (n > 0 && ((low < 0 && parts[n - 1] < 0) || (low > 0 && parts[n - 1] > 0))) {
    const twice = low * 2;
    const x = high + twice;
    if (twice === x - high) high = x; // half way: as the rest says
  }
  return high;
}

const fmean = (values) => fsum(values) / values.length;

// The standard deviation with `less` fewer degrees of freedom than values.
function deviation(values, less) {
  const mean = fmean(values);
  return Math.sqrt(fsum(values.map((x) => (x - mean) ** 2)) / (values.length - less));
}

// A number with so many decimals; a tie goes to the even digit as in Python, where toFixed goes up.
function fixed(value, digits) {
  const short = value.toFixed(digits);
  const exact = Math.abs(value).toFixed(100);
  const end = exact.indexOf(".") + 1 + digits;
  const isTie = /^50*$/.test(exact.slice(end));
  if (!isTie) return short;
  const kept = digits ? exact.slice(0, end) : exact.slice(0, end - 1);
  if ("13579".includes(kept.at(-1))) return short;
  return (value < 0 ? "-" : "") + kept;
}

// With its sign, and no minus before a zero.
function signed(value, digits = 2) {
  const shown = fixed(value, digits);
  if (Number(shown) === 0) return "+" + shown.replace("-", "");
  return value > 0 ? "+" + shown : shown;
}

// The sum in the order in which numpy adds: in halves, of at most 128 in eight streams.
function pairwise(x, begin, n) {
  if (n < 8) {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += x[begin + i];
    return sum;
  }
  if (n <= 128) {
    const r = Array.from(x.subarray(begin, begin + 8));
    let i = 8;
    for (; i < n - (n % 8); i += 8) for (let k = 0; k < 8; k++) r[k] += x[begin + i + k];
    let sum = r[0] + r[1] + (r[2] + r[3]) + (r[4] + r[5] + (r[6] + r[7]));
    for (; i < n; i++) sum += x[begin + i];
    return sum;
  }
  const half = Math.floor(n / 2) - (Math.floor(n / 2) % 8);
  return pairwise(x, begin, half) + pairwise(x, begin + half, n - half);
}

// The mean of arrays of one length, entry by entry, added in their order.
function meanOf(arrays) {
  const sum = Float64Array.from(arrays[0]);
  for (const each of arrays.slice(1)) for (let i = 0; i < sum.length; i++) sum[i] += each[i];
  return sum.map((x) => x / arrays.length);
}

function logGamma(x) {
  // Lanczos with g = 7, n = 9
  const c = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  let sum = c[0];
  for (let i = 1; i < 9; i++) sum += c[i] / (x - 1 + i);
  const t = x + 6.5;
  return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
}

// The regularised incomplete beta function I_x(a, b), by its continued fraction (Lentz).
function incompleteBeta(x, a, b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  if (x > (a + 1) / (a + b + 2)) return 1 - incompleteBeta(1 - x, b, a);
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
  const tiny = 1e-300;
  const away = (y) => (Math.abs(y) < tiny ? tiny : y);
  let c = 1;
  let d = 1 / away(1 - ((a + b) * x) / (a + 1));
  let f = d;
  for (let m = 1; m < 1000; m++) {
    let part = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away(1 + part * d);
    c = away(1 + part / c);
    f *= d * c;
    part = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away(1 + part * d);
    c = away(1 + part / c);
    f *= d * c;
    if (Math.abs(d * c - 1) < 1e-16) break;
  }
  return front * f;
}

// The two-sided probability of a t at least so large.
const probabilityOfT = (t, freedom) => incompleteBeta(freedom / (freedom + t * t), freedom / 2, 0.5);

// The t that is exceeded, on either side, with probability p.
const quantiles = new Map();
function quantileOfT(p, freedom) {
  const key = `${p} ${freedom}`;
  if (!quantiles.has(key)) {
    let low = 0;
    let high = 1;
    while (probabilityOfT(high, freedom) > p) high *= 2;
    for (let i = 0; i < 200 && low < high; i++) {
      const middle = (low + high) / 2;
      if (middle === low || middle === high) break;
      if (probabilityOfT(middle, freedom) > p) low = middle;
      else high = middle;
    }
    quantiles.set(key, (low + high) / 2);
  }
  return quantiles.get(key);
}

// Left minus right of the mean over sets, each with values per prompt; right null: of left alone.
// As amid.metrics.paired.paired_differences; the interval is computed when it is asked for.
function paired(left, right) {
  const count = left.length;
  let difference = 0;
  let variance = 0;
  let rest = 0;
  const parts = [];
  for (let s = 0; s < count; s++) {
    const n = left[s].length;
    const found = right === null ? left[s] : left[s].map((x, i) => x - right[s][i]);
    const mean = pairwise(found, 0, n) / n;
    const squares = found.map((x) => (x - mean) * (x - mean));
    parts.push([pairwise(squares, 0, n) / (n - 1) / n, n - 1]);
    difference += mean;
  }
  difference /= count;
  for (const [each, freedom] of parts) {
    const part = each / (count * count);
    variance += part;
    rest += (part * part) / freedom;
  }
  const freedom = variance > 0 ? (variance * variance) / rest : 1;
  const error = Math.sqrt(variance);
  const t = error > 0 ? Math.abs(difference) / error : difference === 0 ? 0 : Infinity;
  return {
    difference,
    p: t === Infinity ? 0 : probabilityOfT(t, freedom),
    get margin() {
      return error > 0 ? quantileOfT(0.05, freedom) * error : 0;
    },
  };
}

// Which hypotheses are rejected at 5 %: `holm`, `bonferroni`, or each by itself (`none`).
function rejected(p, correction) {
  const found = p.map(() => false);
  const order = p.map((_, i) => i).sort((a, b) => p[a] - p[b]);
  for (const [rank, index] of order.entries()) {
    const against = correction === "holm" ? p.length - rank : correction === "bonferroni" ? p.length : 1;
    if (p[index] > 0.05 / against) break;
    found[index] = true;
  }
  return found;
}
