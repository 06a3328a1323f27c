"""What the page does with uploaded files while the model is busy; needs gradio, but no browser."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("gradio", reason='pip install -e ".[serve,ui]"')


def test_uploads_wait_where_gradio_does_not_clear_them_away(tmp_path: Path) -> None:
    from faceshield.serving.page import _UPLOADS, _held, _take

    uploaded, elsewhere = Path(_UPLOADS.name, "abc", "a.jpg"), tmp_path / "b.jpg"
    uploaded.parent.mkdir()
    uploaded.write_bytes(b"a")
    elsewhere.write_bytes(b"b")
    with _held([str(uploaded), str(uploaded), str(elsewhere)]) as held:
        assert not uploaded.exists(), "nothing is left for gradio to find"
        assert [_take(path) for path in held[1:]] == [b"a", b"b"] and not Path(held[1]).exists()
        assert Path(held[0]).read_bytes() == b"a"
    assert not Path(held[0]).parent.exists() and elsewhere.exists()
