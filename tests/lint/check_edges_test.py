"""The lint itself: it must see a forbidden edge, a forbidden header, a stray file and an overlong one."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from check_edges import check  # noqa: E402


def problems_of(tmp_path: Path, name: str, text: str) -> list[str]:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return check(tmp_path, [name])


def test_allows_what_the_map_allows(tmp_path):
    assert not problems_of(tmp_path, "backend/service/a.cpp", '#include "backend/store/b.h"\n#include <vector>\n')


def test_refuses_a_forbidden_room(tmp_path):
    assert "may not include backend/rpc" in problems_of(tmp_path, "backend/domain/a.h", '#include "backend/rpc/b.h"\n')[0]


def test_refuses_torch_outside_the_trainer(tmp_path):
    assert problems_of(tmp_path, "agents/engine/serve/a.cpp", "#include <ATen/ATen.h>\n")
    assert not problems_of(tmp_path, "agents/engine/train/a.cpp", "#include <ATen/ATen.h>\n")


def test_refuses_protobuf_in_services(tmp_path):
    assert problems_of(tmp_path, "backend/service/a.cpp", '#include "slipway/v1/run.pb.h"\n')


def test_refuses_a_file_in_no_room_and_one_too_long(tmp_path):
    assert problems_of(tmp_path, "stray/a.cpp", "")
    assert problems_of(tmp_path, "backend/base/a.cpp", "\n" * 801)
