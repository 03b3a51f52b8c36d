"""Whom a session lets in."""

from __future__ import annotations

import pytest

from tests.unit.local_stack.azure_ml.support import Local, client_of, job


@pytest.mark.parametrize("secret", ["guessed" * 5, ""])
def test_a_client_with_another_secret_or_none_cannot_submit_a_job(local: Local, secret: str) -> None:
    client = client_of(local.emulator.config.port, secret)
    with pytest.raises(Exception, match="AZURE_ML_SECRET"):
        client.submit(job("not-mine", "true"))
    client.close()
    assert local.client.get_job("not-mine") is None
