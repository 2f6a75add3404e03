"""The report as one HTML page that needs no network: tables, figures and the facts about each row."""

from .page import html_page

__all__ = ["html_page"]
