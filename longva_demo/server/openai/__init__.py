"""The OpenAI-compatible API: /v1/models, /v1/chat/completions and /v1/responses, on the page's port."""
