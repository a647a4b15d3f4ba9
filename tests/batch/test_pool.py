"""Processes that die, that refuse, that are stopped: no row is lost, and none is answered twice."""

import os
import time

import pytest
from batch.answerers import DiesAtFirst, NeverLoads, NoModel
from intp_video.batch.pool import Pool
from intp_video.batch.worker import Work
from intp_video.errors import ModelError


def rows(*videos):
    return [{"id": number, "video": video, "question": "?"} for number, video in enumerate(videos)]


def alone(*videos):
    """Every row is a job of its own."""
    return [[row] for row in rows(*videos)]


def run(answerer, jobs, workers=1, **options):
    with Pool([Work(answerer)] * workers) as pool:
        processes = [worker.process for worker in pool._workers]
        found = list(pool.answers(jobs, **options))
        processes += [worker.process for worker in pool._workers]
    assert all(process.poll() is not None for process in processes), "a process is left behind"
    return found


def ids(found):
    return sorted(row["id"] for row in found)


def test_every_row_is_answered_once(scripted):
    found = run(scripted, alone(*"abcdefgh"), workers=3)
    assert ids(found) == [*range(8)] and scripted.times("load") <= 3
    assert all(row["error"] is None for row in found)
    assert all(scripted.times(str(number)) == 1 for number in range(8))


def test_rows_of_one_job_are_answered_by_one_process(scripted):
    found = run(scripted, [rows("a", "a", "a"), [{"id": 9, "video": "b"}]], workers=2)
    assert len({row["prediction"] for row in found if row["video"] == "a"}) == 1
    assert ids(found) == [0, 1, 2, 9]


def test_no_jobs(scripted):
    assert run(scripted, []) == []


@pytest.mark.parametrize(
    ("video", "how"),
    [("kills", r"killed by SIGKILL \(often: out of memory\)"), ("exits", "exit code 3")],
)
def test_a_row_that_two_workers_died_on_gets_an_error(scripted, video, how):
    found = run(scripted, [rows("a", video, "b", "c")])
    assert [row["id"] for row in found] == [0, 1, 2, 3]  # in their order, on one worker
    assert [row["error"] is None for row in found] == [True, False, True, True]
    error = found[1]["error"]
    assert error.startswith("its worker died, and so did the next one: ")
    assert error.endswith(how.replace("\\", "")) and found[1]["prediction"] is None
    assert [scripted.times(str(number)) for number in range(4)] == [1, 2, 1, 1]


def test_a_worker_that_dies_costs_nothing_if_the_next_one_lives(scripted):
    found = run(scripted, alone("a", "kills_once", "b"), workers=2)
    assert ids(found) == [0, 1, 2] and all(row["error"] is None for row in found)
    assert scripted.times("1") == 2


def test_a_worker_that_died_while_it_loaded_is_started_again(scripted):
    answerer = DiesAtFirst(scripted.folder)
    found = run(answerer, alone("a", "b"))
    assert ids(found) == [0, 1] and answerer.times("load") == 2


def test_workers_that_never_load_end_the_run(scripted):
    with pytest.raises(ModelError, match="a worker died while it loaded the model: killed by SIGK"):
        run(NeverLoads(scripted.folder), alone("a"))


def test_what_is_wrong_with_the_model_ends_the_run(scripted):
    with pytest.raises(ModelError, match="there is no such folder"):
        run(NoModel(scripted.folder), alone("a"), workers=2)
    with pytest.raises(ModelError, match="the model is broken"):
        run(scripted, alone("a", "breaks_the_model"))


def test_stopped_it_gives_what_there_is_and_takes_no_more(scripted):
    stop, press = os.pipe()
    taken = []

    def jobs():
        for job in alone("a", "b", "lasts", "c"):
            taken.append(job[0]["id"])
            yield job

    found = []
    with Pool([Work(scripted)]) as pool:
        for row in pool.answers(jobs(), stop):
            found.append(row["id"])
            if len(found) == 2:
                os.write(press, b"\0")
    assert found == [0, 1] and taken == [0, 1, 2]


def test_workers_end_with_the_process_that_started_them(scripted, tmp_path):
    """Nothing closes their connections but its death, in the middle of a row."""
    child = os.fork()
    if child == 0:
        pool = Pool([Work(scripted)]).__enter__()
        (tmp_path / "pid").write_text(str(pool._workers[0].process.pid))
        next(pool.answers(alone("lasts")), None)
        os._exit(1)
    while not scripted.times("0"):
        time.sleep(0.01)
    worker = int((tmp_path / "pid").read_text())
    os.kill(child, 9)
    os.waitpid(child, 0)
    for _ in range(1000):
        if not os.path.exists(f"/proc/{worker}"):
            return
        time.sleep(0.05)
    raise AssertionError("the worker is still there")
