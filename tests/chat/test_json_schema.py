"""Answers of a JSON schema: whatever the model prefers, what it writes follows the schema."""

import json
from typing import Any

import jsonschema
import pytest
import torch

from longva_demo.chat import ChatSession, LocalEngine, Sampling
from longva_demo.chat import json_schema as module
from longva_demo.chat.json_schema import MAX_SCHEMA_CHARACTERS, SchemaMask, check_schema
from longva_demo.errors import DemoError

CLIP = {
    "type": "object",
    "properties": {
        "colour": {"enum": ["red", "blue"]},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "words": {"type": "array", "items": {"type": "string", "maxLength": 8}, "maxItems": 3},
    },
    "required": ["colour", "count", "words"],
    "additionalProperties": False,
}
SCHEMAS: list[dict[str, Any]] = [CLIP, {"enum": ["yes", "no"]}, {"type": "array", "items": CLIP, "minItems": 2}]


@pytest.mark.parametrize("schema", SCHEMAS, ids=json.dumps)
def test_random_tokens_follow_the_schema(engine: LocalEngine, schema: dict[str, Any]) -> None:
    """The most likely token at each step, of logits that know nothing."""
    tokenizer, vocab_size = engine.processor.tokenizer, engine.loaded.model.config.vocab_size
    torch.manual_seed(0)
    for _ in range(5):
        mask = SchemaMask(engine.processor, frozenset(engine.stop_ids), vocab_size, json.dumps(schema))
        ids: list[int] = []
        while len(ids) < 1000 and (not ids or ids[-1] not in engine.stop_ids):
            scores = mask(torch.tensor([ids], dtype=torch.long), torch.randn(1, vocab_size))  # type: ignore[arg-type]
            ids.append(int(scores.argmax()))
        assert ids[-1] in engine.stop_ids
        jsonschema.validate(json.loads(tokenizer.decode(ids[:-1])), schema)


@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_the_model_follows_the_schema(engine: LocalEngine, temperature: float) -> None:
    session = ChatSession(engine)
    sampling = Sampling(temperature, max_new_tokens=400, json_schema=json.dumps(CLIP))
    answer = "".join(getattr(event, "text", "") for event in session.ask("What can you do?", sampling))
    jsonschema.validate(json.loads(answer), CLIP)
    assert session.turns[0].answer == answer
    plain = "".join(getattr(event, "text", "") for event in session.retry(Sampling()))
    assert not plain.startswith("{")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ('{"type": 7}', r"is not supported \(type must be"),
        ('{"$ref": "http://10.0.0.7/a"}', "does not fetch"),
        ('{"$ref": "file:///etc/passwd"}', "does not fetch"),
        ('{"not": {"type": "string"}}', "is not supported"),
        ("nonsense", "is not supported"),
        (json.dumps({"enum": ["x" * MAX_SCHEMA_CHARACTERS]}), "use 20,000 or fewer"),
    ],
)
def test_what_is_refused(schema: str, words: str) -> None:
    with pytest.raises(DemoError, match=words) as caught:
        check_schema(schema)
    assert len(str(caught.value)) < 400


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(DemoError, match="need the package llguidance; run pip install llguidance"):
        check_schema("{}")
