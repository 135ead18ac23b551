"""A damaged outbox is kept under a name that holds up arming, once for each damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from risk.outbox_damage import OutboxDamage
from tickd.testing.clock import ManualClock


def damage(folder: Path) -> OutboxDamage:
    made = OutboxDamage(folder, ManualClock())
    made.look(())
    return made


def test_a_second_damage_keeps_the_first_one_s_file(tmp_path: Path) -> None:
    path = tmp_path / "outbox-00000001.tob"
    for content in (b"first", b"second"):
        path.write_bytes(content)
        damage(tmp_path).copy(path)
    kept = sorted(tmp_path.glob("*.damaged"))
    assert sorted(each.read_bytes() for each in kept) == [b"first", b"second"]
    again = damage(tmp_path)
    (words,) = again.problems()
    assert all(each.name in words for each in kept)
    again.acknowledge()
    assert again.problems() == damage(tmp_path).problems() == []
    assert len(list(tmp_path.glob("*.damaged-*"))) == 2


def test_a_damage_that_the_disk_took_no_copy_of_is_one_all_the_same(tmp_path: Path) -> None:
    made = damage(tmp_path)
    with pytest.raises(OSError):
        made.copy(tmp_path / "outbox-00000001.tob")
    assert made.problems()
    made.acknowledge()
    assert not made.problems()


def test_what_cannot_be_renamed_holds_up_arming_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outbox-00000001.tob"
    path.write_bytes(b"x")
    made = damage(tmp_path)
    made.look([path])
    assert not path.exists()

    def refused(_path: Path, _target: Path) -> Path:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refused)
        with pytest.raises(OSError, match="Read-only"):
            made.acknowledge()
    assert made.problems() == damage(tmp_path).problems() != []
