"""The listener as a process: sockets, journal and Valkey are real."""

import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from anesthesia.occupancy import UNIDENTIFIED, Occupancy
from backbone.vault import open_vault
from protos.journal.v1 import journal_pb2 as pb
from tests.listener import CANARIES, CORPUS, ROOT, Listener, Peer, now, vitals
from tests.messages import HEART_RATE, adt, eeg, nm, oru
from tests.servers import until


@pytest.fixture
def make(tmp_path, redis_url) -> Iterator[Callable[..., Listener]]:
    made: list[Listener] = []

    def one(**settings: str) -> Listener:
        listener = Listener(tmp_path, redis_url, **settings)
        listener.start()
        made.append(listener)
        return listener

    yield one
    for listener in made:
        listener.close()


def test_a_message_becomes_an_answer_a_frame_and_a_provisional_occupancy(make):
    listener = make()

    answer = listener.peer().ask(oru([nm(HEART_RATE, 72), *eeg([1] * 128)], control_id="M1", at=now()))

    assert answer == ["MSA", "AA", "M1"]
    until("the entries are in the stream", lambda: len(listener.entries()) == 2)
    occupancy, frame = listener.entries()
    assert (occupancy.pseudonym, occupancy.theatre) == (UNIDENTIFIED, True)
    assert [r.signal for r in frame.readings] == ["heart_rate", "eeg_1"]
    assert (frame.source, frame.simulated, frame.origin.listener) == ("sim-mindray", True, "listener-1")
    assert listener.end() == 0


def test_answers_of_pipelined_messages_come_in_order_and_each_dialect_gets_its_mode(make):
    listener = make()
    peer, philips = listener.peer(), listener.peer()

    peer.send(*[vitals(n) for n in range(100)])
    philips.send(oru([], control_id="P1", at=now(), application="SIM_PHILIPS").replace(b"NE|AL", b"AL|NE"))

    assert [peer.answer() for _ in range(100)] == [["MSA", "AA", f"M{n}"] for n in range(100)]
    assert philips.answer() == ["MSA", "CA", "P1"]


def test_an_admission_seals_the_identity_and_no_canary_stands_anywhere_in_clear(make):
    listener = make()
    peer = listener.peer()
    peer.ask(vitals(1, person="ZZCANARYID^^^SIMHOSP^MR"))

    answers = [peer.ask(adt("A01", at=now())), peer.ask(adt("A01", control_id="A2", at=now()).replace(b"PV1", b"PV9"))]
    peer.ask((CORPUS / "no_msh.hl7").read_bytes())

    assert [a[1] for a in answers] == ["AA", "AE"]
    until("both occupancies are in the stream", lambda: len(listener.entries()) == 4)
    identified = listener.entries()[-1]
    opened = open_vault(listener.folder / "keys").identity.open(identified.sealed_identity, "identity")
    assert b"ZZCANARYFAMILY" in opened
    assert identified.covariates.age_years is not None
    listener.end()
    streams = b"".join(listener.redis.dump(k) for k in listener.redis.scan_iter())
    written = streams + b"".join(p.read_bytes() for p in [listener.log, *listener.journal.iterdir()])
    assert [canary for canary in CANARIES if canary in written] == []


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("second_msh_in_block.hl7", "AR", "several_headers"),
        ("batch.hl7", "AR", "batch"),
        ("no_msh.hl7", "AR", "no_header"),
        ("control_id_missing.hl7", "AR", "no_control_id"),
        ("obr_7_is_no_time.hl7", "AE", "bad_time"),
        ("patient_id_missing.hl7", "AE", "no_identifier"),
    ],
)
def test_a_malformed_message_is_refused_with_a_reason_and_put_into_quarantine(make, name, code, reason):
    listener = make()

    answer = listener.peer().ask((CORPUS / name).read_bytes())

    listed = listener.inspect().ListQuarantine(pb.ListQuarantineRequest(limit=10), timeout=5).messages
    assert answer[1] == code
    assert [m.code for m in listed] == [reason]
    assert listener.entries() == []


def test_the_log_is_told_of_the_mappings_and_of_each_move_that_moved_nobody(make):
    listener = make()
    peer = listener.peer()
    peer.ask(adt("A01", control_id="A2", at=now(), bed="ELSEWHERE^^9"))
    peer.ask((CORPUS / "patient_id_missing.hl7").read_bytes())
    peer.ask((CORPUS / "obr_7_is_no_time.hl7").read_bytes())
    peer.ask(adt("A08", control_id="A3", at=now()))

    until("both moves are told", lambda: len(listener.told()) == 4)

    started, moves = listener.told()[:2], listener.told()[2:]
    assert [(event.kind, event.about["mapping"]) for event in started] == [
        ("listener_started", "mindray_egateway"),
        ("listener_started", "philips_piic"),
    ]
    assert {len(str(event.about["digest"])) for event in started} == {64}
    assert [(event.kind, event.about["code"]) for event in moves] == [
        ("adt_not_applied", "unknown_bed"),
        ("adt_not_applied", "no_identifier"),
    ]
    assert moves[0].about["sequence"] < moves[1].about["sequence"]
    assert "ZZCANARY" not in str(listener.told())


def test_a_listener_that_starts_anew_tells_no_move_twice(make):
    listener = make()
    listener.peer().ask(adt("A01", at=now(), bed="ELSEWHERE^^9"))
    until("the move is told", lambda: [event.kind for event in listener.told()][-1:] == ["adt_not_applied"])
    listener.peer().ask(vitals(1))
    until("a frame is in the stream", lambda: listener.frames() != [])
    listener.end()

    listener.start()
    listener.peer().ask(adt("A03", control_id="A2", at=now(), bed="ELSEWHERE^^9"))

    until("the next move is told", lambda: [event.about.get("type") for event in listener.told()][-1:] == ["ADT^A03"])
    assert [event.kind for event in listener.told()].count("adt_not_applied") == 2


def test_an_answer_to_nothing_is_journaled_and_gets_none(make):
    listener = make()
    peer = listener.peer()

    peer.send((CORPUS / "acknowledgment_of_no_message_of_ours.hl7").read_bytes())
    answer = peer.ask(vitals(1))

    assert answer[1:] == ["AA", "M1"]
    assert listener.journaled()["K1"] == "not_acted_on"
    assert listener.inspect().ListQuarantine(pb.ListQuarantineRequest(), timeout=5).messages == []


def test_creation_times_to_the_minute_never_make_a_clock_drift(make):
    listener = make()
    peer = listener.peer()
    minute = f"{now() - timedelta(seconds=50):%Y%m%d%H%M}+0000"

    answers = [peer.ask(re.sub(rb"(?<=HOSP\|)[0-9.+]+(?=\|\|ORU)", minute.encode(), vitals(n))) for n in range(3)]

    until("all frames are in the stream", lambda: len(listener.frames()) == 3)
    assert [a[1] for a in answers] == ["AA"] * 3
    assert {frame.clock_offset_s for frame in listener.frames()} == {0.0}


def test_an_unknown_sender_is_rejected_and_an_unknown_bed_is_kept_without_effect(make):
    listener = make()
    peer = listener.peer()

    answers = [peer.ask(vitals(1, application="STRANGER")), peer.ask(vitals(2, bed="ELSEWHERE^^9"))]

    codes = [m.code for m in listener.inspect().ListQuarantine(pb.ListQuarantineRequest(), timeout=5).messages]
    assert [a[1] for a in answers] == ["AR", "AA"]
    assert codes == ["unknown_bed", "unknown_sender"]


def test_unknown_and_disagreeing_codes_are_counted_and_listed(make):
    listener = make()
    peer = listener.peer()
    for n in range(3):
        peer.ask(oru([nm("987654^MDC_X^MDC", 1), nm("150456^MDC_CO2_ET^MDC", 35)], control_id=f"U{n}", at=now()))

    stub = listener.inspect()
    listed = stub.ListUnmapped(pb.ListUnmappedRequest(), timeout=5).codes
    status = stub.Status(pb.StatusRequest(), timeout=5)

    assert sorted((c.code, c.reason, c.count) for c in listed) == [("150456", "disagreement", 3), ("987654", "unknown_code", 3)]
    assert (status.listener, status.messages, status.sources[0].bed) == ("listener-1", 3, "OR 1")
    assert listener.frames() == []


def test_a_message_sent_twice_is_answered_twice_and_has_one_effect_also_after_a_restart(make):
    listener = make()
    peer, content, second = listener.peer(), vitals(1), vitals(2)

    answers = [peer.ask(content), peer.ask(content)]
    peer.send(second, second)
    peer.answer()
    listener.end()
    listener.start()
    peer = listener.peer()
    answers += [peer.ask(content), peer.ask(vitals(3))]

    assert [a[1] for a in answers] == ["AA"] * 4
    until("all frames are in the stream", lambda: len(listener.frames()) >= 3)
    assert len({f.origin.sequence for f in listener.frames()}) == len(listener.frames())
    values = [f.readings[0].value for f in listener.frames()]
    assert values.count(61.0) == 1
    assert len([entry for entry in listener.entries() if isinstance(entry, Occupancy)]) == 1
    assert values.count(63.0) == 1


def test_the_same_control_id_with_another_content_is_processed(make):
    listener = make()
    peer, at = listener.peer(), now()

    answers = [peer.ask(oru([nm(HEART_RATE, value)], control_id="1", at=at)) for value in (70, 71)]

    assert [a[1] for a in answers] == ["AA", "AA"]
    until("both frames are in the stream", lambda: [f.readings[0].value for f in listener.frames()] == [70.0, 71.0])


def test_every_acknowledged_message_survives_a_kill_and_its_frame_is_in_the_stream_exactly_once(make):
    listener = make()
    acked: list[str] = []
    for first in (0, 2000):
        peers = [listener.peer() for _ in range(4)]
        deadline = time.monotonic() + 0.7
        number = first
        while time.monotonic() < deadline:
            for peer in peers:
                peer.send(vitals(number), vitals(number + 1))
                number += 2
            for peer in peers:
                acked += [peer.answer()[2], peer.answer()[2]]
        for peer in peers:  # under way when the process dies
            peer.send(vitals(number))
            number += 1
        listener.end(signal.SIGKILL)
        for peer in peers:
            with contextlib.suppress(OSError):
                acked.append(peer.answer()[2])
        listener.start()

    until("nothing waits", lambda: listener.inspect().Status(pb.StatusRequest(), timeout=5).not_forwarded == 0)
    journaled = listener.journaled()
    sequences = [f.origin.sequence for f in listener.frames()]
    assert set(acked) <= set(journaled)
    assert len(acked) == len(set(acked))
    assert len(acked) > 50
    assert len(sequences) == len(set(sequences)) == len(journaled)
    assert sequences == sorted(sequences)


def test_after_the_server_lost_everything_the_journal_sends_it_again(make):
    listener = make()
    peer = listener.peer()
    for n in range(20):
        peer.ask(vitals(n))
    until("the frames are in the stream", lambda: len(listener.frames()) == 20)

    listener.redis.flushall()
    peer.ask(vitals(20))

    until("the frames are in the stream again", lambda: len(listener.frames()) == 21)
    assert [f.readings[0].value for f in listener.frames()] == [60.0 + n for n in range(21)]


def test_while_the_streams_are_down_messages_are_acknowledged_and_sent_on_later(make, valkey):
    listener = make()
    peer = listener.peer()
    valkey.stop()

    answers = [peer.ask(vitals(n)) for n in range(10)]
    valkey.start()

    assert [a[1] for a in answers] == ["AA"] * 10
    until("the frames are in the stream", lambda: len(listener.frames()) == 10)


def test_a_patient_who_moves_ends_here_and_begins_there(make):
    listener = make()
    peer, at = listener.peer(), now()

    for content in (
        adt("A01", control_id="1", at=at - timedelta(minutes=2), told=at),
        adt("A02", control_id="2", at=at - timedelta(minutes=1), told=at, bed="OR^^2", prior="OR^^1"),
        adt("A03", control_id="3", at=at, bed="OR^^2"),
        adt("A08", control_id="4", at=at, bed="OR^^2"),
    ):
        assert peer.ask(content)[1] == "AA"

    until("all revisions are in the streams", lambda: len(listener.entries("OR 1")) == 2 and len(listener.entries("OR 2")) == 2)
    assert listener.entries("OR 1")[-1].end == listener.entries("OR 2")[0].start
    assert listener.entries("OR 2")[-1].end is not None
    assert listener.journaled()["4"] == "not_acted_on"


def test_ten_minutes_of_silence_end_an_occupancy_without_any_message(make):
    listener = make(silence_grace_s="0", silence_check_s="0.1")

    listener.peer().ask(oru([nm(HEART_RATE, 72)], control_id="M1", at=now(), span_s=661))

    until("the revision is in the stream", lambda: len(listener.entries()) == 3)
    begun, _, ended = listener.entries()
    assert ended.case_id == begun.case_id
    assert ended.end - begun.start >= timedelta(minutes=10)
    assert set(listener.journaled().values()) == {"accepted"}


def test_a_source_whose_clock_steps_again_and_again_is_kept_without_effect(make):
    listener = make()
    peer, at = listener.peer(), now()

    for n in range(4):
        assert peer.ask(oru([nm(HEART_RATE, 60 + n)], control_id=f"M{n}", at=at + n * timedelta(minutes=5)))[1] == "AA"

    until("the first frames are in the stream", lambda: len(listener.frames()) == 1)
    assert list(listener.journaled().values()) == ["accepted", "clock", "clock", "clock"]


def test_a_large_stable_offset_is_corrected_and_stated_in_the_frame(make):
    listener = make()

    listener.peer().ask(oru([nm(HEART_RATE, 72)], control_id="M1", at=now() - timedelta(days=400)))

    until("the frame is in the stream", lambda: len(listener.frames()) == 1)
    [frame] = listener.frames()
    assert frame.clock_offset_s == pytest.approx(400 * 86_400, abs=1)
    assert abs((now() - frame.readings[0].observed_at).total_seconds()) < 10


def test_a_full_journal_refuses_and_says_so(make):
    listener = make(disk_budget_mb="1")
    peer = listener.peer()
    rows = eeg([30000] * 4096, rate=4096)

    codes = [peer.ask(oru(rows, control_id=f"M{n}", at=now()))[1] for n in range(60)]

    assert codes[0] == "AA"
    assert codes[-1] == "AE"
    assert sorted(codes) == codes
    assert len(listener.journaled()) == codes.count("AA")


def test_slow_silent_and_surplus_peers_are_let_go_and_a_good_one_is_served(make):
    listener = make(frame_s="0.5", idle_s="0.7", connections="3")
    slow, silent, good = listener.peer(), listener.peer(), listener.peer()
    slow.connection.sendall(b"\x0bMSH|^~\\&|SIM")

    surplus = listener.peer()
    answer = good.ask(vitals(1))

    assert answer[1] == "AA"
    for peer in (surplus, slow, silent):
        assert peer.connection.recv(100) == b""


def test_a_message_over_the_limit_is_refused_with_its_control_id_and_the_connection_goes_on(make):
    listener = make(message_bytes="2000")
    peer = listener.peer()

    answers = [peer.ask(vitals(1) + b"NTE|" + b"x" * 3000), peer.ask(vitals(2))]

    assert [a[1:3] for a in answers] == [["AE", "M1"], ["AA", "M2"]]


def test_a_disk_that_fails_ends_the_process_and_nothing_more_is_acknowledged(tmp_path, redis_url):
    listener = Listener(tmp_path, redis_url)
    listener.command = ["bash", "-c", f"ulimit -f 300; exec {sys.executable} -m services.hl7_listener"]  # 300 KiB a file
    listener.start()
    peer, acked = listener.peer(), []

    with contextlib.suppress(ConnectionError):
        acked.extend(peer.ask(vitals(n))[2] for n in range(1000))
    code = listener.process.wait(20)
    listener.close()

    assert code == 1
    assert 0 < len(acked) < 1000
    assert set(acked) <= set(listener.journaled())
    assert b"JournalFailed" in listener.log.read_bytes()


def test_a_wrong_mapping_or_setting_ends_the_process_with_3_and_names_it(tmp_path, redis_url):
    listener = Listener(tmp_path, redis_url)
    (tmp_path / "mappings").mkdir()
    environment = listener.environment | {"SOPOR_MAPPINGS": str(tmp_path / "mappings")}

    ended = subprocess.run(
        [sys.executable, "-m", "services.hl7_listener"], env=environment, cwd=ROOT, capture_output=True, timeout=30, check=False
    )

    assert ended.returncode == 3
    assert b"mindray_egateway.yaml" in ended.stderr


def test_one_address_and_all_together_have_so_many_connections(make):
    listener = make(connections="4", connections_per_address="2")
    held = [listener.peer("127.0.0.2"), listener.peer("127.0.0.2"), listener.peer()]
    held[-1].ask(vitals(1))

    over_its_own = listener.peer("127.0.0.2")
    with pytest.raises(ConnectionError):
        over_its_own.answer()
    last = listener.peer()
    answer = last.ask(vitals(2))
    over_all = listener.peer("127.0.0.3")
    with pytest.raises(ConnectionError):
        over_all.answer()

    assert answer[1] == "AA"
    assert re.findall(rb'"limit": "(\w+)"', listener.log.read_bytes()) == [b"address", b"all"]


def test_fewer_open_files_than_connections_make_fewer_connections_and_a_warning(tmp_path, redis_url):
    listener = Listener(tmp_path, redis_url)
    listener.command = ["bash", "-c", f"ulimit -n 130; exec {sys.executable} -m services.hl7_listener"]  # 128 are not for devices
    listener.start()
    peers = [listener.peer(), listener.peer()]
    answers = [peer.ask(vitals(n)) for n, peer in enumerate(peers)]

    with pytest.raises(ConnectionError):
        listener.peer().answer()

    listener.close()
    assert [answer[1] for answer in answers] == ["AA", "AA"]
    assert b"too_few_files" in listener.log.read_bytes()


def test_a_source_above_its_rate_is_heard_later_and_loses_nothing_and_others_do_not_wait(make):
    listener = make(source_hz="100", strangers_hz="1")
    fast, stranger, other = listener.peer(), listener.peer(), listener.peer()
    stranger.send(*[vitals(n, application="STRANGER") for n in range(200)])
    begun_s = time.monotonic()

    fast.send(*[vitals(n) for n in range(300)])
    other_s = [asked_s(other, vitals(n, application="SIM_PHILIPS")) for n in range(20)]
    answers = [fast.answer() for _ in range(300)]

    assert [answer[1:] for answer in answers] == [["AA", f"M{n}"] for n in range(300)]
    assert time.monotonic() - begun_s > 1.3  # two seconds' worth above the first, less what came at once with the last
    assert max(other_s) < 1.0


def asked_s(peer: Peer, content: bytes) -> float:
    """Return how long an answer took."""
    begun_s = time.monotonic()
    assert peer.ask(content)[1] == "AA"
    return time.monotonic() - begun_s
