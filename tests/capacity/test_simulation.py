"""The simulation keeps to arithmetic where there is one, and to the bench where there is none."""

import math

import pytest

from brainmets.runtime.settings import WorkerSettings
from capacity.__main__ import TOLERANCE
from capacity.measurement import Bench, StudyTimes
from capacity.page import COMPARISON, PAGE, PLANS, comparison_table, errors, replaced
from capacity.plan import BUSIEST_FRACTION, TURNAROUND_S, ZONES, draw_arrivals, plan
from capacity.simulation import LEASE_S, PREPARING_SLOTS, STUDIES_IN_FLIGHT, Installation, Scenario, simulate

TIMES = StudyTimes(sending_s=0.5, preparing_s=2.0, inferring_s=3.0, finishing_s=1.0)
ALONE = Installation(workers=1, preprocessing=1, tritons=1)


def drain(installation: Installation, studies: int, **changes: float) -> float:
    """Return when the last of some studies ends that are all sent at once."""
    return simulate(installation, Scenario(studies * (0.0,), TIMES, **changes)).ended[-1][1]


def test_a_lone_study_takes_the_sum_of_its_times() -> None:
    """It waits for nothing."""
    assert drain(ALONE, 1) == pytest.approx(TIMES.sending_s + TIMES.worker_s)


def test_a_worker_infers_one_study_while_it_prepares_the_next() -> None:
    """So that its turn is what sets the rate, whatever else is idle."""
    around_s = TIMES.sending_s + TIMES.preparing_s + TIMES.finishing_s
    assert drain(Installation(1, 9, 9), 5) == pytest.approx(around_s + 5 * TIMES.inferring_s)


def test_a_worker_holds_no_third_study() -> None:
    """Where all but inference is slow, its places set the rate."""
    times = StudyTimes(sending_s=0.0, preparing_s=4.0, inferring_s=0.0, finishing_s=2.0)
    assert simulate(Installation(1, 9, 9), Scenario(6 * (0.0,), times)).ended[-1][1] == pytest.approx(3 * 6.0)


def test_settings_are_the_service_s_own() -> None:
    """What is simulated is what is served."""
    fields = WorkerSettings.model_fields
    assert fields["studies_in_flight"].default == STUDIES_IN_FLIGHT
    assert fields["lease_s"].default == LEASE_S


@pytest.mark.parametrize(("cores", "seconds"), [(8, 2.0), (4, 2.0), (2, 4.0), (1, 8.0)])
def test_studies_on_the_same_cores_slow_each_other(cores: int, seconds: float) -> None:
    """Two that keep two cores busy each; alone one takes 2 s, unless there are fewer cores than it keeps busy."""
    times = StudyTimes(sending_s=0.0, preparing_s=2.0, inferring_s=0.0, finishing_s=0.0, cores=2.0)
    scenario = Scenario((0.0, 0.0), times, shared_cores=cores)
    assert simulate(ALONE, scenario).ended[-1][1] == pytest.approx(seconds)


def test_who_works_alone_again_goes_on_at_full_pace() -> None:
    """The second comes when half of the first is done: 1 s alone, then 2 s beside it, then the second's last half."""
    times = StudyTimes(sending_s=0.0, preparing_s=2.0, inferring_s=0.0, finishing_s=0.0, cores=2.0)
    ended = simulate(ALONE, Scenario((0.0, 1.0), times, shared_cores=2)).ended
    assert [end_s for _, end_s in ended] == pytest.approx([3.0, 4.0])


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
    """Two studies on two workers; one goes after three seconds, and its study is another's next."""
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
    scenario = Scenario(draw_arrivals(2000), TIMES)
    assert simulate(ALONE, scenario).turnaround_s(0.95) > TURNAROUND_S


@pytest.mark.parametrize("per_hour", [100, 1000])
def test_a_plan_bears_its_rate_without_a_zone(per_hour: int) -> None:
    """What is left is busy for its share of the time at most, and one zone less would not be enough of something."""
    found = plan(per_hour, TIMES, gpu_speedup=1.0)
    left = found.installation.without(found.installation.lost(ZONES))
    assert found.p95_s <= TURNAROUND_S
    busy_s = (
        (left.workers, max(TIMES.inferring_s, TIMES.worker_s / STUDIES_IN_FLIGHT)),
        (left.preprocessing, TIMES.preparing_s / PREPARING_SLOTS),
        (left.tritons, TIMES.inferring_s),
    )
    for count, seconds in busy_s:
        load = per_hour * seconds / 3600.0
        assert load <= BUSIEST_FRACTION * count
        assert count == 1 or load > BUSIEST_FRACTION * (count - 1)


@pytest.mark.parametrize("queued", Bench.load().rates_per_hour)
def test_the_prediction_is_near_the_bench(queued: int) -> None:
    """Within 15 % of the rates of the committed figures."""
    assert abs(errors(Bench.load())[queued]) <= TOLERANCE


def test_the_page_tells_of_the_committed_bench() -> None:
    """`make capacity ARGS=--write` puts both tables in; the first is made again here, the second takes a minute."""
    text = PAGE.read_text(encoding="utf-8")
    assert replaced(text, COMPARISON, comparison_table(Bench.load())) == text


def test_a_page_without_a_mark_is_told() -> None:
    """Else nothing would be written, and nobody know."""
    with pytest.raises(ValueError, match="got none"):
        replaced("a page", PLANS, "a table")
