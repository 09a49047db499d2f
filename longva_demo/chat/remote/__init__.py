"""An engine elsewhere: vLLM replicas with the plugin `longva_vllm`, usually behind vllm-router, asked over HTTP.

Decoding, pixels, token ids, the conversation and the page stay here. The weights and the KV cache are there. A prompt
is sent whole each time; the replicas' prefix caches make it cheap. docs/scale.md describes the whole.
"""

from longva_demo.chat.remote.engine import RemoteEngine

__all__ = ["RemoteEngine"]
