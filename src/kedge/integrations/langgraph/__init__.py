"""LangGraph over Kedge: a rollback takes back what the bad version saved and remembered."""

from kedge.integrations.langgraph.saver import AsyncKedgeSaver, KedgeSaver
from kedge.integrations.langgraph.saver_inputs import handler

__all__ = ["AsyncKedgeSaver", "KedgeSaver", "handler"]
