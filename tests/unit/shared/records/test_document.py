from __future__ import annotations

from shared.domain.upgrades import SCHEMA_VERSION
from shared.records.document import head


def test_a_document_has_the_id_of_its_type_unless_it_has_one_of_its_own() -> None:
    assert head("run") == {"id": "run", "type": "run", "schema_version": SCHEMA_VERSION}
    assert head("outbox", "outbox-7") == {"id": "outbox-7", "type": "outbox", "schema_version": SCHEMA_VERSION}
