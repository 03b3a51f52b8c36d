"""`/v1`: files and fine-tuning jobs in OpenAI's shapes, over the same runs as `/api` (docs/reference/openai.md)."""

from fastapi import APIRouter

from functions.http.openai import files, jobs

router = APIRouter(prefix="/v1", tags=["openai"])
router.include_router(files.router)
router.include_router(jobs.router)
