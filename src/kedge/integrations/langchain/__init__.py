"""LangChain: vector store, retriever and chat history over Kedge, so that a rollback takes back what they hold."""

from kedge.integrations.embedding import embedder_artifact
from kedge.integrations.langchain.history import KedgeChatMessageHistory
from kedge.integrations.langchain.retriever import KedgeRetriever
from kedge.integrations.langchain.vectorstore import KedgeVectorStore

__all__ = ["KedgeChatMessageHistory", "KedgeRetriever", "KedgeVectorStore", "embedder_artifact"]
