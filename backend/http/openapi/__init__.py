"""The OpenAPI document: what FastAPI makes of the routes, completed by their policies."""
