"""The published checkpoints on the Hub itself; needs a network. Run it with `make test-hub`.

pytest does not collect this file on its own. tests/model/test_hub_check.py runs it against a local server.
"""

from functools import cache

import pytest
from huggingface_hub import constants

from tests.model.hub_check import (
    SPECIAL_TOKENS,
    Snapshot,
    assert_config_is_accepted,
    assert_tokenizer_gives,
    assert_weights_fit,
    fetch_snapshot,
    published_rows,
)

PUBLISHED = ("lmms-lab/LongVA-7B", "lmms-lab/LongVA-7B-DPO", "ruili0/LongVA-7B-TPO")


@cache
def snapshot_of(repo_id: str) -> Snapshot:
    assert not constants.HF_HUB_OFFLINE, "the Hub is disabled: run `make test-hub`, which sets HF_HUB_OFFLINE=0"
    return fetch_snapshot(repo_id)


@pytest.mark.parametrize("repo_id", PUBLISHED)
def test_the_config_is_accepted(repo_id: str) -> None:
    assert_config_is_accepted(snapshot_of(repo_id), context_length=224_000, tokens_per_frame=144)


@pytest.mark.parametrize("repo_id", PUBLISHED)
def test_names_and_shapes_of_the_weights_fit(repo_id: str) -> None:
    assert_weights_fit(snapshot_of(repo_id))


@pytest.mark.parametrize("repo_id", PUBLISHED)
def test_the_tokenizer_gives_the_published_ids(repo_id: str) -> None:
    assert_tokenizer_gives(snapshot_of(repo_id), published_rows(), SPECIAL_TOKENS)
