"""LangGraph over Kedge: a rollback takes back what the bad version saved and remembered."""

from kedge.integrations.langgraph.saver import AsyncKedgeSaver, KedgeSaver
from kedge.integrations.langgraph.saver_inputs import handler
from kedge.integrations.langgraph.store import KedgeStore

__all__ = ["AsyncKedgeSaver", "KedgeSaver", "KedgeStore", "handler"]
