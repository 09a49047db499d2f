#!/bin/sh
# vLLM with the flags that the page needs; the arguments are further ones. See docs/scale.md.
set -eu
PLUGIN=$(python3 -c 'import importlib.util; print(importlib.util.find_spec("longva_vllm").submodule_search_locations[0])')
exec python3 -m vllm.entrypoints.openai.api_server \
    --enable-scale-out --enable-prompt-tokens-details --generation-config vllm \
    --structured-outputs-config '{"backend": "xgrammar", "disable_any_whitespace": true}' \
    --chat-template "$PLUGIN/chat.jinja" \
    --media-io-kwargs '{"video": {"video_backend": "longva", "num_frames": -1}}' \
    ${LONGVA_ENGINE_KEY:+--api-key "$LONGVA_ENGINE_KEY"} "$@"
