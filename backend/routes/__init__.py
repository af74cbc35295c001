"""The routes, by what they are about; each calls one method of the service."""
