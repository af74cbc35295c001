"""The tables for SQLAlchemy's ORM."""

from sqlalchemy import ForeignKey
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The base of all tables."""


class ProjectRow(Base):
    __tablename__ = "projects"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    github_owner: Mapped[str]
    github_repo: Mapped[str]
    status: Mapped[str]
    webhook_url: Mapped[str | None]
    auto_merge_enabled: Mapped[bool]
    auto_confirm_plans: Mapped[bool]
    created_at: Mapped[str]
    updated_at: Mapped[str]
    version: Mapped[int] = mapped_column(default=1)


class SettingsRow(Base):
    __tablename__ = "project_settings"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    planning_statement: Mapped[str | None]
    repository_rules: Mapped[str | None]
    setup_commands: Mapped[str | None]
    branch_name: Mapped[str]
    created_at: Mapped[str]
    updated_at: Mapped[str]
    version: Mapped[int] = mapped_column(default=1)


class KeyRow(Base):
    __tablename__ = "project_keys"

    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"), primary_key=True)
    wrapped: Mapped[str]


class SecretRow(Base):
    __tablename__ = "project_secrets"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("projects.id"))
    key_name: Mapped[str]
    ciphertext: Mapped[str]
    created_at: Mapped[str]
    updated_at: Mapped[str]
    version: Mapped[int] = mapped_column(default=1)


class AuditRow(Base):
    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[str]
    actor: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]
    project_id: Mapped[int | None]
    fields: Mapped[str]


class LogRow(Base):
    __tablename__ = "system_logs"

    id: Mapped[int] = mapped_column(primary_key=True)
    level: Mapped[str]
    message: Mapped[str]
    component: Mapped[str | None]
    context: Mapped[str]
    correlation_id: Mapped[str | None]
    project_id: Mapped[int | None]
    agent_run_id: Mapped[int | None]
    created_at: Mapped[str]
