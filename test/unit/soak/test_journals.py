"""What managers note is read back while they write, and their stderr is read well."""

from __future__ import annotations

from pathlib import Path

from soak.records import Began, Ended, Journal, Reader, Sample
from soak.replicas import complaints


def test_what_was_noted_is_read_once(tmp_path: Path) -> None:
    reader, journal = Reader(tmp_path / "j"), Journal(tmp_path / "j")
    began, ended = Began(1.5, "n/a"), Ended(2.5, "n/a", "7", "OSError")

    assert reader.catch_up() == []
    journal.note(began)
    assert reader.catch_up() == [began]
    journal.note(ended)
    assert reader.catch_up() == [ended]

    journal.close()
    assert reader.records == [began, ended]


def test_half_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    reader, path = Reader(tmp_path / "j"), tmp_path / "j"
    line = b'{"is":"began","t":1.0,"key":"n/a"}\n'

    path.write_bytes(line + line[:10])
    assert len(reader.catch_up()) == 1
    path.write_bytes(line + line)
    assert len(reader.catch_up()) == 1


def test_every_field_of_a_sample_comes_back(tmp_path: Path) -> None:
    reader, journal = Reader(tmp_path / "j"), Journal(tmp_path / "j")
    sample = Sample(1, 2, 3, 4, 5, 6, 7)

    journal.note(sample)
    journal.close()

    assert reader.catch_up() == [sample]


def test_a_log_of_failures_is_no_complaint_and_a_careless_task_is() -> None:
    lines = [
        '{"msg": "reconcile failed", "level": "error"}',
        '{"msg": "Task was destroyed but it is pending!", "level": "error"}',
        "soak manager: LeaderLostError: leader election lost",
        "the Lease soak/soak has run out and another may lead",
        "ResourceWarning: unclosed socket",
        "",
        '{"msg": "torn by the end of the proc',
    ]

    assert list(complaints(lines)) == [lines[1], lines[4]]
