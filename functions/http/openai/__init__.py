"""`/v1`: files and fine-tuning jobs in OpenAI's shapes, over the same runs as `/api` (docs/reference/openai.md)."""
