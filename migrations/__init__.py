"""The numbered SQL files of the schema, which `database.migrator` reads."""
