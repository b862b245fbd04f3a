"""Answers: the mode the sender asks for, its own delimiters, and never positive without a control id."""

from datetime import UTC, datetime

import pytest

from services.hl7_listener.ack import Answer, Outcome, acknowledgment
from services.hl7_listener.message import header_of

NOW = datetime(2026, 11, 21, 3, 45, 1, 250_000, tzinfo=UTC)
YES = Answer(Outcome.ACCEPT)
NO = Answer(Outcome.ERROR, "bad_time", "OBR^1^7", "OBR-7: no timestamp")


def answer(answered: Answer, *, accept: str = "", application: str = "", control_id: str = "M1", marks: str = "|^~\\&") -> list[str] | None:
    f = marks[0]
    fields = [f"MSH{marks}", "APP", "FAC", "US", "OURS", "20261121034500", "", f"ORU{marks[1]}R01", control_id, "P", "2.5.1", "", ""]
    header = header_of(f.join([*fields, accept, application, "", "8859/1"]).encode())
    made = acknowledgment(header, answered, now=NOW, control_id="ACK1")
    return None if made is None else made.decode().split("\r")


@pytest.mark.parametrize(
    ("accept", "application", "positive", "negative"),
    [
        ("", "", "AA", "AE"),
        ("NE", "AL", "AA", "AE"),
        ("NE", "", "AA", "AE"),
        ("AL", "NE", "CA", "CE"),
        ("AL", "AL", "CA", "CE"),
        ("ER", "NE", None, "CE"),
        ("SU", "NE", "CA", None),
        ("NE", "ER", None, "AE"),
        ("NE", "SU", "AA", None),
        ("NE", "NE", None, None),
        ("", "NE", None, None),
        ("ER", "ER", None, "CE"),
        ("ER", "AL", "AA", "CE"),
    ],
)
def test_the_code_follows_msh_15_and_msh_16(accept, application, positive, negative):
    codes = [answer(what, accept=accept, application=application) for what in (YES, NO)]

    assert [made and made[1].split("|")[1] for made in codes] == [positive, negative]


@pytest.mark.parametrize("kind", [b"ACK", b"ACK^R01^ACK", b"MCF^A01"])
@pytest.mark.parametrize("said", [YES, NO, Answer(Outcome.REJECT, "unknown_sender")])
def test_an_answer_is_never_answered(kind, said):
    header = header_of(b"MSH|^~\\&|APP|FAC|US|OURS|20261121034500||" + kind + b"|K1|P|2.6|||AL|AL")

    assert acknowledgment(header, said, now=NOW, control_id="ACK1") is None


def test_sender_and_receiver_change_places_and_the_control_id_comes_back_as_it_was():
    made = answer(YES, control_id="  00äx ")

    msh = made[0].split("|")
    assert msh[2:6] == ["US", "OURS", "APP", "FAC"]
    assert msh[6] == "20261121034501.250+0000"
    assert msh[8:12] == ["ACK^R01^ACK", "ACK1", "P", "2.5.1"]
    assert msh[17] == "8859/1"
    assert made[1] == "MSA|AA|  00äx "


def test_the_senders_own_delimiters_are_used():
    made = answer(NO, marks="#*~\\&")

    assert made[0].startswith("MSH#*~\\&#US#")
    assert made[1].startswith("MSA#AE#M1#")
    assert made[2].split("#")[2] == "OBR*1*7"


def test_a_negative_answer_says_what_and_where():
    made = answer(NO)

    assert made[1] == "MSA|AE|M1|OBR-7: no timestamp"
    assert made[2] == "ERR||OBR^1^7|207^Application internal error^HL70357|E||||bad_time: OBR-7: no timestamp"


def test_a_reason_cannot_break_the_answer():
    made = answer(Answer(Outcome.REJECT, "x", "", "a|b^c\rd\x0b"))

    assert made[1] == "MSA|AR|M1|a b c d "


def test_without_a_control_id_no_answer_is_positive():
    made = answer(YES, control_id="")

    assert made[1].startswith("MSA|AE||")
