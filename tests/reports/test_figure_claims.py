"""Claims of figures on made-up sweeps: what was put in must be found; what is missing decides nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from drawn_sweeps import over_alpha, over_lambda, over_methods
from scipy import stats

from amid.reports.figures import figure2b, figure2c, figure3, figure4, figure5, heat_map, instability, temperature
from amid.reports.figures.claims import FAILS, HOLDS, UNDECIDED, Claim, Part, mean_of_series, slope
from amid.toy_experiment.result import PARAMETRISATIONS, Fit, Setting


def part(estimate: float, half: float, p: float, *, claimed: int = 1) -> Part:
    return Part("d", estimate, estimate - half, estimate + half, p, claimed)


@pytest.mark.parametrize(
    ("parts", "doubts", "verdict"),
    [
        ([part(1.0, 0.5, 0.001), part(2.0, 0.5, 0.001)], (), HOLDS),
        ([part(-1.0, 0.5, 0.001, claimed=-1)], (), HOLDS),
        ([part(1.0, 0.5, 0.001), part(0.2, 0.5, 0.4)], (), UNDECIDED),
        ([part(1.0, 0.5, 0.001)], ("one is missing",), UNDECIDED),
        ([part(1.0, 0.5, 0.001), part(-1.0, 0.5, 0.001)], (), FAILS),
        ([part(-1.0, 0.5, 0.001)], ("one is missing",), FAILS),  # what fails at one place fails
        ([part(1.0, 0.5, 0.001, claimed=-1)], (), FAILS),
        # 0.04 alone would do, but not as one of three that could have been found
        ([part(-1.0, 0.9, 0.04), part(0.1, 1.0, 0.8), part(0.1, 1.0, 0.8)], (), UNDECIDED),
        ([], (), UNDECIDED),
    ],
)
def test_a_verdict_follows_from_intervals_and_corrected_tests(
    parts: list[Part], doubts: tuple[str, ...], verdict: str
) -> None:
    claim = Claim("a is b", tuple(parts), "over prompts", doubts)
    assert claim.verdict == verdict
    assert f" {verdict.upper()}: " in claim.text
    assert all(doubt in claim.text for doubt in doubts)


def test_of_many_parts_the_weakest_are_said() -> None:
    parts = [Part(f"part {i}", float(i), i - 0.5, i + 0.5, 0.001) for i in range(9, 0, -1)]
    text = Claim("a is b", tuple(parts), "over prompts").text
    assert "part 1 +1.00 [+0.50, +1.50]; part 2" in text
    assert "part 4" not in text
    assert "9 of 9 intervals lie on the claimed side of 0" in text


def test_a_slope_is_that_of_scipy() -> None:
    x, y = [-5.0, -3.0, -1.0, 0.0, 1.0], [22.0, 21.5, 19.0, 19.5, 18.0]
    found, expected = slope(x, y), stats.linregress(x, y)
    margin = stats.t.ppf(0.975, 3) * expected.stderr
    assert found == pytest.approx((expected.slope, expected.slope - margin, expected.slope + margin, expected.pvalue))
    assert slope([1.0, 2.0], [1.0, 2.0]) is None
    assert slope([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None


def test_the_interval_of_a_correlated_series_covers_and_a_naive_one_does_not() -> None:
    rng, covered, naive = np.random.default_rng(3), 0, 0
    for _ in range(400):
        noise = rng.normal(size=80)
        for i in range(1, 80):
            noise[i] += 0.6 * noise[i - 1]
        _, low, high, _ = mean_of_series(list(noise)) or (0.0, 0.0, 0.0, 0.0)
        covered += low <= 0.0 <= high
        margin = stats.t.ppf(0.975, 79) * noise.std(ddof=1) / math.sqrt(80)
        naive += abs(noise.mean()) <= margin
    assert covered / 400 > 0.88  # the correlation of 80 values is itself an estimate, a little too small
    assert naive / 400 < 0.75


def test_figure3_holds_fails_and_is_undecided(tmp_path: Path) -> None:
    def verdict(name: str, gain) -> str:  # type: ignore[no-untyped-def]
        return figure3.claim_of_curves(over_methods(tmp_path / name, gain=gain).view()).verdict

    assert verdict("above", lambda step: 4.0) == HOLDS
    assert verdict("late", lambda step: -4.0 if step <= 300 else 4.0) == FAILS  # throughout is in both halves
    assert verdict("equal", lambda step: 0.0) == UNDECIDED


def test_figure3_without_amid_or_with_few_validations_says_so(tmp_path: Path) -> None:
    made = over_methods(tmp_path)
    made.manifest["cells"] = [cell for cell in made.manifest["cells"] if cell["labels"]["method"] != "amid"]
    claim = figure3.claim_of_curves(made.view())
    assert (claim.verdict, claim.parts) == (UNDECIDED, ())
    assert "no row with method=amid" in claim.text


def test_figure4_holds_fails_and_is_undecided(tmp_path: Path) -> None:
    falling = over_alpha(tmp_path / "a").view()
    claim = figure4.claim_of_tradeoff(falling)
    assert claim.verdict == HOLDS
    assert len(claim.parts) == 6
    assert claim.parts[0].estimate == pytest.approx(-0.6, abs=0.02)
    assert claim.parts[1].estimate == pytest.approx(0.02, abs=0.001)
    rising = over_alpha(tmp_path / "b", quality=lambda name, alpha: 20.0 + alpha).view()
    assert figure4.claim_of_tradeoff(rising).verdict == FAILS
    flat = over_alpha(tmp_path / "c", quality=lambda name, alpha: 20.0).view()
    assert figure4.claim_of_tradeoff(flat).verdict == UNDECIDED


def test_what_is_missing_or_diverged_keeps_a_claim_open_and_is_named(tmp_path: Path) -> None:
    view = over_alpha(tmp_path, left_out=[0.5], diverged=[("kl", "rp", 1.0)]).view()
    claim = figure4.claim_of_tradeoff(view)
    assert claim.verdict == UNDECIDED
    assert "ab(p || r) quality is not there at alpha 0.5" in claim.text
    assert "kl(r || p) quality is not there at alpha 1" in claim.text
    assert heat_map.claim_of_smallest(view).verdict == UNDECIDED


def test_figure5_holds_fails_and_is_undecided(tmp_path: Path) -> None:
    above = over_lambda(tmp_path / "a").view()
    lines = above.lines("amid.lam")
    assert [lam for lam, _ in lines[0].points] == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert figure5.claim_above(above, lines).verdict == HOLDS
    assert figure5.claim_stable(above, lines).verdict == HOLDS
    below = over_lambda(tmp_path / "b", gain=lambda lam: 3.0 if lam < 0.8 else -3.0).view()
    assert figure5.claim_above(below, below.lines("amid.lam")).verdict == FAILS
    assert figure5.claim_stable(below, below.lines("amid.lam")).verdict == FAILS
    equal = over_lambda(tmp_path / "c", gain=lambda lam: 0.1).view()
    assert figure5.claim_above(equal, equal.lines("amid.lam")).verdict == UNDECIDED


def test_the_gain_minus_the_spread_is_that_of_the_table(tmp_path: Path) -> None:
    view = over_lambda(tmp_path, gain=lambda lam: 2.0 + lam).view()
    (found,) = figure5.claim_stable(view, view.lines("amid.lam")).parts
    means = [view.rows[row].values[view.quality].mean for _, row in view.lines("amid.lam")[0].points]  # type: ignore[union-attr]
    assert found.estimate == pytest.approx(np.mean(means) - 18.0 - (max(means) - min(means)), abs=1e-9)


def test_the_heat_map_claim_is_about_the_divergences_of_table_3(tmp_path: Path) -> None:
    claim = heat_map.claim_of_smallest(over_alpha(tmp_path / "a").view())
    assert claim.verdict == HOLDS
    assert not any("r || p" in each.what for each in claim.parts)
    middle = over_alpha(tmp_path / "b", quality=lambda name, alpha: 20.0 - abs(alpha)).view()
    assert heat_map.claim_of_smallest(middle).verdict == FAILS


def test_instability_needs_divergence_at_alpha_1_and_nowhere_else(tmp_path: Path) -> None:
    def norm(name: str, order: str, alpha: float | None, step: int) -> float:
        spread = 1.5 if (name, order, alpha) == ("kl", "rp", 1.0) else 0.2
        return 10.0 ** (spread * math.sin(step * 1.7) + 0.05 * math.sin(step * (2.3 + (alpha or 0.0))))

    lost = [("kl", "rp", 1.0)]
    found = instability.claim_of_instability(over_alpha(tmp_path / "a", norm=norm, diverged=lost).view())
    assert found.verdict == HOLDS
    assert all(each.estimate > 0.5 for each in found.parts)
    steady = instability.claim_of_instability(over_alpha(tmp_path / "b", norm=norm).view())
    assert (steady.verdict, "what diverged: no alpha" in steady.text) == (UNDECIDED, True)
    another = [("kl", "rp", 1.0), ("kl", "rp", 0.0)]
    both = instability.claim_of_instability(over_alpha(tmp_path / "c", norm=norm, diverged=another).view())
    assert (both.verdict, "what diverged: 0, 1" in both.text) == (UNDECIDED, True)

    def turned(name: str, order: str, alpha: float | None, step: int) -> float:
        return norm(name, order, None if alpha == 1.0 else 1.0, step)

    assert instability.claim_of_instability(over_alpha(tmp_path / "d", norm=turned).view()).verdict == FAILS


def test_temperature_compares_at_the_temperatures_that_validation_chose(tmp_path: Path) -> None:
    view = over_alpha(tmp_path / "a", tuned=True).view()
    claim = temperature.claim_of_alpha(view)
    assert claim.verdict == HOLDS
    assert [each.what.partition(" (+")[0] for each in claim.parts][0] == "kl(p || r), alpha -5 minus none"
    assert view.temperatures == (0.3, 0.6, 1.0)
    row = dict(view.lines("amid.alpha")[0].points)[-5.0]
    known = [view.validation_at(row, each) for each in view.temperatures]
    assert known[1] == max(each for each in known if each is not None)
    worse = over_alpha(tmp_path / "b", tuned=True, quality=lambda name, alpha: 15.0 + 0.1 * alpha).view()
    assert temperature.claim_of_alpha(worse).verdict == FAILS


def fits(stds: dict[float, float], means: dict[float, float]) -> list[Fit]:
    setting = Setting()
    return [
        Fit(alpha, lam, each, means[alpha], stds[alpha], 0.1, 0.0)
        for each in PARAMETRISATIONS
        for lam in setting.lams
        for alpha in setting.alphas
    ]


def test_the_claim_of_the_toy_fit_holds_and_fails() -> None:
    alphas = Setting().alphas
    grows = {alpha: 1.4 + 0.3 * i for i, alpha in enumerate(alphas)}
    moves = {alpha: -3.0 + 0.3 * i for i, alpha in enumerate(alphas)}
    assert figure2c.claim_of_fits(fits(grows, moves), Setting()).verdict == HOLDS
    shrinks = dict(zip(alphas, reversed(grows.values()), strict=True))
    assert figure2c.claim_of_fits(fits(shrinks, moves), Setting()).verdict == FAILS


def test_departures_name_two_minima_falling_widths_and_what_still_moves() -> None:
    flat = dict.fromkeys(Setting().alphas, 2.0)
    assert figure2c.departures(fits(flat, flat)) == []
    found = [
        Fit(-1.0, 0.3, "variance", -2.9, 1.55, 0.171, 0.0),
        Fit(0.0, 0.3, "variance", -1.2, 1.50, 0.160, 0.3),
        Fit(-1.0, 0.3, "log_std", -1.5, 2.86, 0.161, 0.0),
    ]
    apart, falls, moving = figure2c.departures(found)
    assert "at alpha -1, lambda 0.3 Adam on σ² ends at σ 1.55 (KL 0.1710), on log σ at 2.86 (0.1610)" in apart
    assert "lambda 0.3, -1 to 0" in falls
    assert "alpha 0, lambda 0.3" in moving


def test_proposition_3_5_holds() -> None:
    assert figure2b.claim_of_weights().verdict == HOLDS
