"""Whether SQLAlchemy, through which MLflow reaches a database server, can read a URI and has the driver for it."""

from __future__ import annotations

from ..errors import UserError
from ..runtime.secrets import redacted

SERVERS = ("postgresql", "mysql", "mssql")  # how their URIs begin


def check_driver(uri: str) -> None:
    """Raise ``UserError`` where a database server cannot be reached for want of a driver; nothing is connected."""
    if not uri.startswith(SERVERS):
        return
    from sqlalchemy import create_engine  # here, since it takes a while
    from sqlalchemy.exc import SQLAlchemyError

    try:
        create_engine(uri)
    except ImportError as error:
        package = error.name or str(error)
        raise UserError(
            f"{redacted(f'tracking.uri={uri}', uri)} needs the driver {package}, which is not installed: "
            f"pip install {package}, or use tracking=sqlite",
            key="tracking.uri",
            kind="missing",
        ) from None
    except (SQLAlchemyError, ValueError) as error:
        why = redacted(f"tracking.uri={uri} cannot be used ({error})", uri)
        raise UserError(
            f"{why}: write it as postgresql://user:password@host:5432/name, with %40 for @ and %2F for / in a password",
            key="tracking.uri",
        ) from None
