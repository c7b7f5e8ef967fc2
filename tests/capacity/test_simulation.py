"""The simulation keeps to arithmetic where there is one, and to the bench where there is none."""

import math

import pytest

from capacity.measurement import Bench, StudyTimes
from capacity.plan import BUSIEST_FRACTION, TURNAROUND_S, ZONES, draw_arrivals, plan, predict_drain
from capacity.simulation import LEASE_S, PREPARING_SLOTS, Installation, Scenario, simulate

TIMES = StudyTimes(sending_s=0.5, preparing_s=2.0, inferring_s=3.0, finishing_s=1.0)
ALONE = Installation(workers=1, preprocessing=1, tritons=1)


def drain(installation: Installation, studies: int, **changes: float) -> float:
    """Return when the last of some studies ends that are all sent at once."""
    return simulate(installation, Scenario(studies * (0.0,), TIMES, **changes)).ended[-1][1]


def test_a_lone_study_takes_the_sum_of_its_times() -> None:
    """It waits for nothing."""
    assert drain(ALONE, 1) == pytest.approx(TIMES.sending_s + TIMES.worker_s)


def test_one_worker_has_one_study_at_a_time() -> None:
    """Whatever else is idle."""
    assert drain(Installation(1, 9, 9), 5) == pytest.approx(TIMES.sending_s + 5 * TIMES.worker_s)


def test_many_workers_wait_for_one_triton() -> None:
    """Which then sets the rate: it is idle until the first is prepared, and while the last is written."""
    around_s = TIMES.sending_s + TIMES.preparing_s + TIMES.finishing_s
    assert drain(Installation(20, 20, 1), 20) == pytest.approx(around_s + 20 * TIMES.inferring_s)


def test_preprocessing_prepares_as_many_as_it_has_slots() -> None:
    """The others wait, with their workers."""
    rounds = math.ceil(9 / PREPARING_SLOTS)
    last_s = TIMES.sending_s + rounds * TIMES.preparing_s + TIMES.inferring_s + TIMES.finishing_s
    assert drain(Installation(9, 1, 9), 9) == pytest.approx(last_s)


def test_a_faster_gpu_hastens_the_networks_alone() -> None:
    """All else stays as measured."""
    saved_s = TIMES.inferring_s * (1 - 1 / 10)
    assert drain(ALONE, 1, gpu_speedup=10.0) == pytest.approx(TIMES.sending_s + TIMES.worker_s - saved_s)


def test_what_ran_in_a_lost_zone_begins_anew_after_its_lease() -> None:
    """Two studies on two workers; one goes after three seconds, and its study waits for the other's end."""
    both = Installation(2, 2, 2)
    ends_s = [end_s for _, end_s in simulate(both, Scenario((0.0, 0.0), TIMES, loss_s=3.0)).ended]
    first_s = TIMES.sending_s + TIMES.worker_s
    assert ends_s == pytest.approx([first_s, 3.0 + LEASE_S + TIMES.worker_s])


def test_no_study_is_lost_with_a_zone() -> None:
    """Each ends once, however many ran."""
    arrivals_s = draw_arrivals(2000)
    scenario = Scenario(arrivals_s, TIMES, spread=0.5, loss_s=1000.0)
    ended = simulate(Installation(16, 8, 8), scenario).ended
    assert sorted(sent_s for sent_s, _ in ended) == sorted(arrivals_s)


def test_an_overloaded_installation_is_seen() -> None:
    """Its turnaround grows beyond the objective, so that a plan that forgot something would be found out."""
    scenario = Scenario(draw_arrivals(1000), TIMES)
    assert simulate(ALONE, scenario).turnaround_s(0.95) > TURNAROUND_S


@pytest.mark.parametrize("per_hour", [100, 1000])
def test_a_plan_bears_its_rate_without_a_zone(per_hour: int) -> None:
    """What is left is busy for its share of the time at most, and one zone less would not be enough of something."""
    found = plan(per_hour, TIMES, gpu_speedup=1.0)
    left = found.installation.without(found.installation.lost(ZONES))
    assert found.p95_s <= TURNAROUND_S
    busy_s = (
        (left.workers, TIMES.worker_s),
        (left.preprocessing, TIMES.preparing_s / PREPARING_SLOTS),
        (left.tritons, TIMES.inferring_s),
    )
    for count, seconds in busy_s:
        load = per_hour * seconds / 3600.0
        assert load <= BUSIEST_FRACTION * count
        assert count == 1 or load > BUSIEST_FRACTION * (count - 1)


@pytest.mark.parametrize("queued", [1, 8])
def test_the_prediction_is_near_the_bench(queued: int) -> None:
    """Within 15 % of the rates of the committed figures."""
    bench = Bench.load()
    predicted = predict_drain(queued, bench.times).rate_per_hour
    assert predicted == pytest.approx(bench.rates_per_hour[queued], rel=0.15)
