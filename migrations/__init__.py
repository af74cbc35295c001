"""The numbered SQL files that make the database; read by ``database.migrator``."""
