"""`/`: the dashboard, plain files without a build step. The page is public; every datum comes from the API."""

from pathlib import Path

from fastapi import APIRouter

from functions.http.static_files import read_files, serve

router = APIRouter(include_in_schema=False)

# Trusted types make the browser itself refuse innerHTML: training text can never become markup.
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
FILES = read_files(Path(__file__).with_name("static"))

serve(router, "/", "/static", lambda: FILES, CONTENT_SECURITY_POLICY)
